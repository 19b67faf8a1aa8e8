//! Joining, as an administrator does it: the real program against a small controller.

use crate::support::{Controller, Fleet};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_joins_once_and_refusals_have_their_own_exit_codes() {
    let fleet = Fleet::start(0).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();

    let again = fleet.join(&fleet.controller.token, &[]);
    assert_eq!(again.status.code(), Some(6), "{}", text(&again.stderr));
    let forced = fleet.join(&fleet.controller.token, &["--force"]);
    assert!(forced.status.success(), "{}", text(&forced.stderr));
    assert!(text(&forced.stdout).contains("joined as node nod_"));

    let unknown = fleet.join(&fleet.controller.unknown_token(), &["--force"]);
    assert_eq!(unknown.status.code(), Some(3), "{}", text(&unknown.stderr));
    assert!(text(&unknown.stderr).contains("not known"));
    let malformed = fleet.join("slj1.x", &["--force"]);
    assert_eq!(malformed.status.code(), Some(3), "{}", text(&malformed.stderr));

    let other = Controller::start("other").await;
    let foreign = fleet.join(&other.token, &["--force"]);
    assert_eq!(foreign.status.code(), Some(4), "{}", text(&foreign.stderr));
    assert!(text(&foreign.stderr).contains("CA"));
    for output in [&again, &unknown, &foreign] {
        let secret = fleet.controller.token.rsplit('.').next().unwrap();
        assert!(!text(&output.stderr).contains(secret));
    }

    let status = fleet.agent("status", &[]);
    assert_eq!(status.status.code(), Some(1));
    assert!(text(&status.stdout).contains("not running"));
}
