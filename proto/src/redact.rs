//! `Debug` for messages that hold secrets: it names the message and its harmless fields, never a secret.

use std::fmt;

#[cfg(feature = "node")]
use crate::node::v1 as node;
use crate::v1;

macro_rules! redacted {
    ($($message:ty { $($shown:ident),* })*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($shown), &self.$shown))*
                    .finish_non_exhaustive()
            }
        }
    )*};
}

redacted! {
    v1::AcceptInvitationRequest {}
    v1::ChangePasswordRequest {}
    v1::ConfirmEmailChangeRequest {}
    v1::CreateInvitationResponse { invitation }
    v1::CreateJoinTokenResponse { id, max_uses }
    v1::CreatePersonalAccessTokenResponse { personal_access_token }
    v1::DeleteAccountRequest {}
    v1::GetInvitationRequest {}
    v1::OAuthProvider { name, client_id, client_secret_set, url }
    v1::ProjectSmtp { host, port, user, password_set, sender_email, sender_name }
    v1::RefreshRequest {}
    v1::RequestEmailChangeRequest { new_email }
    v1::ResendInvitationResponse { invitation }
    v1::ResetPasswordRequest {}
    v1::RevealProjectSecretsResponse {}
    v1::SecretValue { name }
    v1::SessionTokens {}
    v1::SetRegistryCredentialsRequest { cluster, registry, username }
    v1::SetUpRequest { email, display_name }
    v1::SignInRequest { email, refresh_token_delivery }
    v1::SignUpRequest { display_name, refresh_token_delivery }
}

#[cfg(feature = "node")]
redacted! {
    node::ConfigFile { path, uid, gid, mode }
    node::EnrollRequest { hostname, agent_version }
    node::EnvVar { name, bind_placement }
    node::HttpProbe { port, path, host }
    node::PostgresProbe { port, user, database }
    node::RegistryCredentials { registry, username }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_secret_message_does_not_show_the_secret() {
        let request = v1::SignInRequest {
            email: "ada@example.com".into(),
            password: "canary".into(),
            ..Default::default()
        };
        let shown = format!("{request:?}");
        assert!(shown.contains("ada@example.com"));
        assert!(!shown.contains("canary"));
    }

    #[cfg(feature = "node")]
    #[test]
    fn debug_of_a_specification_does_not_show_its_secrets() {
        let env =
            node::EnvVar { name: "POSTGRES_PASSWORD".into(), value: "canary".into(), bind_placement: false };
        let shown = format!("{env:?}");
        assert!(shown.contains("POSTGRES_PASSWORD"));
        assert!(!shown.contains("canary"));
    }

    #[cfg(feature = "node")]
    #[test]
    fn debug_of_an_image_that_is_not_kept_does_not_show_the_password_of_its_registry() {
        let credentials = node::RegistryCredentials {
            registry: "registry.example.com".into(),
            username: "puller".into(),
            password: "canary".into(),
        };
        let absence = node::ImageAbsence { credentials: Some(credentials), ..Default::default() };
        let shown = format!("{absence:?}");
        assert!(shown.contains("registry.example.com") && shown.contains("puller"), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}
