//! Tokens of a project, as its services check them: HS256 with the secret's text as it is (§11.1).

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;

/// What the services look at.
#[derive(Deserialize)]
struct Claims {
    role: String,
}

/// The role that a token carries, if it is signed with the secret and not expired.
pub fn role(secret: &str, token: &str) -> Option<String> {
    let mut validation = Validation::new(Algorithm::HS256);
    // User tokens have an audience; the services at these versions do not check it.
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::decode::<Claims>(token, &key, &validation).ok().map(|token| token.claims.role)
}

/// The point that is not met unless the key is one of this role.
pub fn point(secret: &str, name: &str, key: &str, wanted: &str) -> Option<String> {
    let holds = role(secret, key).is_some_and(|role| role == wanted);
    (!holds).then(|| format!("{name} is no key of the role {wanted} that the JWT secret signed (§11.1)"))
}
