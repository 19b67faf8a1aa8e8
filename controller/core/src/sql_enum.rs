//! Enums that PostgreSQL stores as text.

/// Defines an enum with a text for each value: `as_sql`, `ALL`, and sqlx's `Type`, so that a query can read a column
/// with `state AS "state: ProjectState"`. An unknown text is an error, never a default.
#[macro_export]
macro_rules! sql_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All values.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the text of the value in SQL.
            pub const fn as_sql(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::sql_enum::UnknownText;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok(Self::$variant),)*
                    other => Err($crate::sql_enum::UnknownText { kind: stringify!($name), text: other.to_owned() }),
                }
            }
        }

        impl ::sqlx::Type<::sqlx::Postgres> for $name {
            fn type_info() -> ::sqlx::postgres::PgTypeInfo {
                <str as ::sqlx::Type<::sqlx::Postgres>>::type_info()
            }

            fn compatible(column: &::sqlx::postgres::PgTypeInfo) -> bool {
                <str as ::sqlx::Type<::sqlx::Postgres>>::compatible(column)
            }
        }

        impl<'r> ::sqlx::Decode<'r, ::sqlx::Postgres> for $name {
            fn decode(value: ::sqlx::postgres::PgValueRef<'r>) -> Result<Self, ::sqlx::error::BoxDynError> {
                let text = <&str as ::sqlx::Decode<::sqlx::Postgres>>::decode(value)?;
                Ok(text.parse()?)
            }
        }
    };
}

/// A text that no value of the enum has. Columns have CHECKs, so it means a bug.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a {kind}")]
pub struct UnknownText {
    /// Name of the enum.
    pub kind: &'static str,
    /// The unknown text.
    pub text: String,
}

#[cfg(test)]
mod tests {
    sql_enum! {
        /// For the test.
        Colour {
            /// #f00
            Red = "RED",
        }
    }

    #[test]
    fn a_text_that_is_unknown_is_an_error() {
        assert_eq!("RED".parse::<Colour>().unwrap(), Colour::Red);
        assert_eq!(Colour::ALL[0].as_sql(), "RED");
        assert_eq!("red".parse::<Colour>().unwrap_err().to_string(), "\"red\" is not a Colour");
    }
}
