//! The roles of an organization's members.

use crate::sql_enum;

sql_enum! {
    /// Role of a member in an organization, strongest first.
    Role {
        /// May do everything, including deleting the organization.
        Owner = "OWNER",
        /// May do everything except delete the organization and act on owners.
        Administrator = "ADMINISTRATOR",
        /// May manage projects and read their secrets.
        Developer = "DEVELOPER",
        /// May read everything except secrets.
        ReadOnly = "READ_ONLY",
    }
}
