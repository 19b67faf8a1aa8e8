//! The fake's users, sessions and personal access tokens.

use std::pin::Pin;

use supalove_proto::v1::{
    auth_service_server::AuthService, personal_access_token_service_server::PersonalAccessTokenService, *,
};
use tonic::{Request, Response, Status};

use super::{
    super::fake::{Fake, PASSWORD, SETUP_TOKEN, user},
    Answer,
};

#[tonic::async_trait]
impl AuthService for Fake {
    async fn set_up(&self, request: Request<SetUpRequest>) -> Answer<SetUpResponse> {
        let request = request.into_inner();
        if request.setup_token != SETUP_TOKEN || request.password != PASSWORD {
            return Err(Status::permission_denied("wrong setup token"));
        }
        let tokens = Some(self.state().new_tokens());
        Ok(Response::new(SetUpResponse { user: Some(user()), tokens }))
    }

    async fn sign_in(&self, request: Request<SignInRequest>) -> Answer<SignInResponse> {
        let request = request.into_inner();
        if request.password != PASSWORD || request.refresh_token_delivery() != RefreshTokenDelivery::Body {
            return Err(Status::unauthenticated("wrong e-mail address or password"));
        }
        let tokens = Some(self.state().new_tokens());
        Ok(Response::new(SignInResponse { user: Some(user()), tokens }))
    }

    async fn refresh(&self, request: Request<RefreshRequest>) -> Answer<RefreshResponse> {
        let takes = self.state().refresh_takes;
        tokio::time::sleep(takes).await;
        let mut state = self.state();
        state.refreshes += 1;
        if request.into_inner().refresh_token != format!("refresh-{}", state.session) {
            // As the real one: a token that is used twice ends the session.
            state.session = 0;
            return Err(Status::unauthenticated("the refresh token was used before"));
        }
        state.stale_tokens = false;
        let tokens = Some(state.new_tokens());
        Ok(Response::new(RefreshResponse { tokens }))
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Answer<SignOutResponse> {
        self.enter(&request, "SignOut", "").await?;
        self.state().session = 0;
        Ok(Response::new(SignOutResponse {}))
    }

    async fn get_me(&self, request: Request<GetMeRequest>) -> Answer<GetMeResponse> {
        self.enter(&request, "GetMe", "").await?;
        Ok(Response::new(GetMeResponse { user: Some(user()) }))
    }

    async fn update_me(&self, request: Request<UpdateMeRequest>) -> Answer<UpdateMeResponse> {
        self.enter(&request, "UpdateMe", &request.get_ref().display_name).await?;
        let display_name = request.into_inner().display_name;
        Ok(Response::new(UpdateMeResponse { user: Some(User { display_name, ..user() }) }))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Answer<ChangePasswordResponse> {
        let asked = request.get_ref();
        let text = format!("{} -> {}", asked.current_password, asked.new_password);
        self.enter(&request, "ChangePassword", &text).await?;
        Ok(Response::new(ChangePasswordResponse { sessions_ended: 2, personal_access_tokens_left: 1 }))
    }

    async fn start_sign_up(&self, request: Request<StartSignUpRequest>) -> Answer<StartSignUpResponse> {
        self.note("StartSignUp", &request.get_ref().email);
        Ok(Response::new(StartSignUpResponse {}))
    }

    async fn sign_up(&self, request: Request<SignUpRequest>) -> Answer<SignUpResponse> {
        let asked = request.get_ref();
        self.note("SignUp", &format!("{} {} {}", asked.token, asked.password, asked.display_name));
        let tokens = Some(self.state().new_tokens());
        Ok(Response::new(SignUpResponse { user: Some(user()), tokens }))
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Answer<RequestPasswordResetResponse> {
        self.note("RequestPasswordReset", &request.get_ref().email);
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn reset_password(&self, request: Request<ResetPasswordRequest>) -> Answer<ResetPasswordResponse> {
        let asked = request.get_ref();
        self.note("ResetPassword", &format!("{} {}", asked.token, asked.new_password));
        let tokens = Some(self.state().new_tokens());
        let user = Some(user());
        Ok(Response::new(ResetPasswordResponse {
            user,
            tokens,
            sessions_ended: 2,
            personal_access_tokens_ended: 1,
        }))
    }

    async fn request_email_change(
        &self,
        request: Request<RequestEmailChangeRequest>,
    ) -> Answer<RequestEmailChangeResponse> {
        let text = format!("{} {}", request.get_ref().new_email, request.get_ref().current_password);
        self.enter(&request, "RequestEmailChange", &text).await?;
        Ok(Response::new(RequestEmailChangeResponse {}))
    }

    async fn confirm_email_change(
        &self,
        request: Request<ConfirmEmailChangeRequest>,
    ) -> Answer<ConfirmEmailChangeResponse> {
        self.enter(&request, "ConfirmEmailChange", &request.get_ref().token).await?;
        Ok(Response::new(ConfirmEmailChangeResponse { email: "new@example.com".into(), sessions_ended: 1 }))
    }

    async fn delete_account(&self, request: Request<DeleteAccountRequest>) -> Answer<DeleteAccountResponse> {
        self.enter(&request, "DeleteAccount", &request.get_ref().current_password).await?;
        self.state().session = 0;
        Ok(Response::new(DeleteAccountResponse {}))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<RotateSigningKeyRequest>,
    ) -> Answer<RotateSigningKeyResponse> {
        self.enter(&request, "RotateSigningKey", &request.get_ref().at_once.to_string()).await?;
        Ok(Response::new(RotateSigningKeyResponse { key_id: "a-key".into(), sign_time: None }))
    }

    unused! {
        get_sign_up_policy(GetSignUpPolicyRequest) -> GetSignUpPolicyResponse;
    }

    async fn list_sessions(&self, request: Request<ListSessionsRequest>) -> Answer<ListSessionsResponse> {
        self.enter(&request, "ListSessions", "").await?;
        let session = |digit: &str, current| Session {
            id: format!("ses_{}", digit.repeat(32)),
            current,
            client_address: "192.0.2.7".into(),
            user_agent: "tonic/0.14".into(),
            ..Session::default()
        };
        Ok(Response::new(ListSessionsResponse { sessions: vec![session("b", true), session("a", false)] }))
    }

    async fn end_session(&self, request: Request<EndSessionRequest>) -> Answer<EndSessionResponse> {
        self.enter(&request, "EndSession", &request.get_ref().session_id).await?;
        Ok(Response::new(EndSessionResponse {}))
    }

    async fn end_other_sessions(
        &self,
        request: Request<EndOtherSessionsRequest>,
    ) -> Answer<EndOtherSessionsResponse> {
        self.enter(&request, "EndOtherSessions", "").await?;
        Ok(Response::new(EndOtherSessionsResponse { sessions_ended: 1 }))
    }
}

#[tonic::async_trait]
impl PersonalAccessTokenService for Fake {
    async fn create_personal_access_token(
        &self,
        request: Request<CreatePersonalAccessTokenRequest>,
    ) -> Answer<CreatePersonalAccessTokenResponse> {
        let asked = request.get_ref();
        let text = format!("{} {:?} {:?}", asked.name, asked.scopes, asked.ttl.map(|ttl| ttl.seconds));
        self.enter(&request, "CreatePersonalAccessToken", &text).await?;
        let personal_access_token = Some(personal_access_token());
        Ok(Response::new(CreatePersonalAccessTokenResponse { token: "sbp_1".into(), personal_access_token }))
    }

    async fn list_personal_access_tokens(
        &self,
        request: Request<ListPersonalAccessTokensRequest>,
    ) -> Answer<ListPersonalAccessTokensResponse> {
        self.enter(&request, "ListPersonalAccessTokens", "").await?;
        let personal_access_tokens = vec![personal_access_token()];
        Ok(Response::new(ListPersonalAccessTokensResponse { personal_access_tokens }))
    }

    async fn revoke_personal_access_token(
        &self,
        request: Request<RevokePersonalAccessTokenRequest>,
    ) -> Answer<RevokePersonalAccessTokenResponse> {
        self.enter(&request, "RevokePersonalAccessToken", &request.get_ref().personal_access_token_id)
            .await?;
        Ok(Response::new(RevokePersonalAccessTokenResponse {}))
    }
}

fn personal_access_token() -> PersonalAccessToken {
    PersonalAccessToken {
        id: format!("pat_{}", "a".repeat(32)),
        name: "ci".into(),
        scopes: vec![PersonalAccessTokenScope::Read.into(), PersonalAccessTokenScope::Projects.into()],
        ..PersonalAccessToken::default()
    }
}
