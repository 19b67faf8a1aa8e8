//! What a personal access token may be used for.

use super::Permission;
use crate::sql_enum;

sql_enum! {
    /// A scope of personal access tokens.
    TokenScope {
        /// Read the profile, organizations, projects and operations.
        Read = "READ",
        /// Create, change and delete projects.
        Projects = "PROJECTS",
        /// Read and change secrets, keys and passwords of projects, and read their logs.
        Secrets = "SECRETS",
        /// Create, change and delete organizations, memberships and private clusters, read an organization's audit log, and transfer
        /// projects.
        Organizations = "ORGANIZATIONS",
        /// Run the platform.
        Platform = "PLATFORM",
    }
}

impl TokenScope {
    /// The scope that a token needs to use a permission of its user; `None`: no token may, only a session.
    pub fn of(permission: Permission) -> Option<Self> {
        match permission {
            Permission::ManageAccount => None,
            Permission::Public
            | Permission::ReadAccount
            | Permission::ReadOrganization
            | Permission::ReadProjects
            | Permission::ReadClusters => Some(Self::Read),
            Permission::OperateProjects => Some(Self::Projects),
            Permission::ReadProjectSecrets
            | Permission::ChangeProjectSecrets
            | Permission::ReadProjectLogs => Some(Self::Secrets),
            Permission::CreateOrganizations
            | Permission::ManageOrganization
            | Permission::ManageMembers
            | Permission::ReadAuditLog
            | Permission::DeleteOrganization
            | Permission::LeaveOrganization
            // Who may change members could let the target's people in as well.
            | Permission::TransferProjects
            | Permission::ReceiveProjects
            | Permission::ManageClusters => Some(Self::Organizations),
            Permission::ManageFleet | Permission::OperatePlatform | Permission::ManagePlans => {
                Some(Self::Platform)
            }
        }
    }
}

/// A set of scopes; `Read` is in every set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenScopes(u8);

impl TokenScopes {
    /// True if the scope is in the set.
    pub fn contains(self, scope: TokenScope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// The scopes of the set, in the order of their definition.
    pub fn iter(self) -> impl Iterator<Item = TokenScope> {
        TokenScope::ALL.iter().copied().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<TokenScope> for TokenScopes {
    fn from_iter<T: IntoIterator<Item = TokenScope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(bit(TokenScope::Read), |set, scope| set | bit(scope)))
    }
}

fn bit(scope: TokenScope) -> u8 {
    1 << scope as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_in_every_set_and_nothing_else_is_by_itself() {
        let none: TokenScopes = [].into_iter().collect();
        assert_eq!(none.iter().collect::<Vec<_>>(), [TokenScope::Read]);
        for scope in TokenScope::ALL {
            let one: TokenScopes = [*scope].into_iter().collect();
            for other in TokenScope::ALL {
                assert_eq!(one.contains(*other), other == scope || *other == TokenScope::Read);
            }
        }
    }
}
