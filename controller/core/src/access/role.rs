//! The roles of an organization's members.

use crate::sql_enum;

sql_enum! {
    /// What a member is in an organization, strongest first.
    Role {
        /// May do everything, also delete the organization.
        Owner = "OWNER",
        /// May do everything but what concerns owners.
        Administrator = "ADMINISTRATOR",
        /// Works with projects and their secrets.
        Developer = "DEVELOPER",
        /// Sees everything but secrets.
        ReadOnly = "READ_ONLY",
    }
}
