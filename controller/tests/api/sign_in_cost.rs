//! What a sign-in costs the controller: exactly one run of Argon2 whoever tries and with whatever password, so that neither the
//! time nor the work tells which addresses have accounts; and none for one that is refused before.

use supalove_proto::v1::{ListJobsRequest, SignInRequest};
use supalove_system_tests::{Api, Controller, Options, PASSWORD};
use tonic::{Code, Request};

/// How often Argon2 has run in the controller.
async fn hashings(operator: &Api) -> u64 {
    let answer = operator.platform().list_jobs(ListJobsRequest {}).await.unwrap().into_inner();
    answer.answering_replica.unwrap().password_hashings
}

async fn sign_in(api: &Api, address: &str, email: &str, password: &str) -> Code {
    let mut request =
        Request::new(SignInRequest { email: email.into(), password: password.into(), ..Default::default() });
    request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
    api.auth().sign_in(request).await.map_or_else(|refused| refused.code(), |_| Code::Ok)
}

#[tokio::test]
async fn a_sign_in_costs_one_run_of_argon2_whoever_tries_and_a_refused_one_costs_none() {
    let arguments = vec!["--trusted-proxy=127.0.0.1/32".to_owned()];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let operator = controller.operator().await;
    controller.database.rows().await.add_user("grace@example.com").await;
    let api = controller.api();
    let too_long = "x".repeat(1025);
    assert_eq!(hashings(&operator).await, 1, "the password of the set-up");

    for (who, email, password, code, cost) in [
        ("an unknown user", "nobody@example.com", PASSWORD, Code::Unauthenticated, 1),
        ("a wrong password", "grace@example.com", "not-the-password", Code::Unauthenticated, 1),
        ("no password", "grace@example.com", "", Code::Unauthenticated, 1),
        ("the right password", "grace@example.com", PASSWORD, Code::Ok, 1),
        ("a password that nobody can have", "grace@example.com", &too_long, Code::Unauthenticated, 0),
        ("the same of an unknown user", "nobody@example.com", &too_long, Code::Unauthenticated, 0),
        ("no address of a mailbox", "grace", PASSWORD, Code::InvalidArgument, 0),
    ] {
        let before = hashings(&operator).await;
        assert_eq!(sign_in(&api, "192.0.2.1", email, password).await, code, "{who}");
        assert_eq!(hashings(&operator).await - before, cost, "{who}");
    }

    for email in ["grace@example.com", "nobody@example.com"] {
        // Twenty from one network to one account are allowed; see `rate_limits.rs`.
        let mut tried = 0;
        while sign_in(&api, "192.0.2.1", email, "not-the-password").await == Code::Unauthenticated {
            tried += 1;
            assert!(tried <= 30, "{tried} guesses, and no end: {email}");
        }
        let before = hashings(&operator).await;
        for password in ["not-the-password", PASSWORD] {
            assert_eq!(sign_in(&api, "192.0.2.1", email, password).await, Code::ResourceExhausted, "{email}");
        }
        assert_eq!(hashings(&operator).await, before, "too often is not tried: {email}");
    }

    // At the same time, too: no run is shared, and none is added.
    let before = hashings(&operator).await;
    let guesses = (0..12).map(|number| {
        let (api, address) = (&api, format!("198.51.100.{number}"));
        let email = if number % 2 == 0 { "grace@example.com" } else { "nobody@example.com" };
        async move { sign_in(api, &address, email, "not-the-password").await }
    });
    let answers = futures::future::join_all(guesses).await;
    let tried = answers.iter().filter(|code| **code == Code::Unauthenticated).count();
    // On a busy machine some find no connection to the database, and are not tried.
    assert!(
        tried > 0 && answers.iter().all(|code| [Code::Unauthenticated, Code::Unavailable].contains(code))
    );
    assert_eq!(hashings(&operator).await - before, u64::try_from(tried).unwrap(), "{answers:?}");
}
