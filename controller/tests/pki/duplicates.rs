//! Two agents with one identity: the controller serves the newest, the other waits, and the operator sees an alarm.

use std::time::{Duration, Instant};

use supalove_proto::{node::v1::GoodbyeReason, v1::NodeAlarmReason};
use supalove_system_tests::{Agent, AgentOptions, Controller, Heard, Holder, Options, SLACK, Stub, wait_for};

/// How long the newest session is protected.
const HOLD: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_copied_identity_raises_an_alarm_and_does_not_flap() {
    let hold = HOLD.as_secs().to_string();
    let arguments = vec!["--duplicate-hold".to_owned(), hold];
    let controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    assert!(api.nodes().await[0].alarms.is_empty());

    // The copy runs on another boot, as on another machine: /proc shows it another boot id.
    let boot = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(boot.path(), "11111111-2222-3333-4444-555555555555\n").unwrap();
    let script =
        format!("mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$@\"", boot.path().display());
    let under = ["unshare", "--mount", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    let copy = agent.copied(AgentOptions { under, ..AgentOptions::default() });
    let alarm = wait_for("the alarm", Duration::from_secs(10) * SLACK, async || {
        api.nodes().await.remove(0).alarms.into_iter().next()
    })
    .await;
    assert_eq!(alarm.reason(), NodeAlarmReason::DuplicateIdentity);
    let own_boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(alarm.message.contains("11111111-2222-3333-4444-555555555555"), "{}", alarm.message);
    assert!(alarm.message.contains(own_boot.trim()), "{}", alarm.message);

    // Each change of sides is a greeted session; sides change at most once in the time that the newest is left in
    // peace.
    let rows = controller.database.rows().await;
    let greeted = async || -> i64 { rows.greeted_epoch().await };
    // The controller itself keeps whoever dials from the newest, not only the agent's patience.
    let node = Holder::from_identity(&agent.identity());
    let last = greeted().await;
    let newest = wait_for("a change of sides", 4 * HOLD * SLACK, async || {
        let now = greeted().await;
        (now > last).then_some(now)
    })
    .await;
    let mut third = Stub::dial(&node, &controller.node_address).await;
    assert_eq!(third.hears().await, Heard::Goodbye(GoodbyeReason::DuplicateIdentity));
    assert_eq!(greeted().await, newest, "the newest was left in peace");
    let started = Instant::now();
    let before = greeted().await;
    tokio::time::sleep(2 * HOLD + Duration::from_millis(500)).await;
    let changes = greeted().await - before;
    let most = i64::try_from(started.elapsed().as_millis() / HOLD.as_millis()).unwrap() + 1;
    println!("{changes} changes of sides in {:?}", started.elapsed());
    assert!(changes <= most, "{changes} changes, at most {most} expected");
    let sent_away = |agent: &Agent| agent.process.log().contains("DUPLICATE_IDENTITY");
    assert!(sent_away(&agent) || sent_away(&copy), "{}", agent.process.log());
    let greetings = rows.audited("Hello").await;
    let outcomes: Vec<&str> = greetings.iter().map(|greeting| greeting.outcome.as_str()).collect();
    assert_eq!(outcomes, ["DUPLICATE_IDENTITY"], "on record once, not at each change");
}

#[tokio::test]
async fn the_newest_is_left_in_peace_only_while_it_lives() {
    // Longer than the whole test.
    let arguments = ["--duplicate-hold", "600"].map(str::to_owned).to_vec();
    let mut controller = Controller::start_with(Options { arguments, ..Options::default() }).await;
    let api = controller.operator().await;
    let mut agent = Agent::start(&controller, &api.join_token().await);
    api.wait_ready_nodes(1).await;
    let rows = controller.database.rows().await;
    rows.mark_duplicates().await;
    let node = Holder::from_identity(&agent.identity());
    let epochs = async || (rows.session_epoch().await, rows.greeted_epoch().await);
    let before = epochs().await;
    let mut other = Stub::dial(&node, &controller.node_address).await;
    assert_eq!(other.hears().await, Heard::Goodbye(GoodbyeReason::DuplicateIdentity));
    assert_eq!(epochs().await, before);

    // The rightful agent is back at once: after its own death, and after its controller's.
    let back = async |agent: &Agent, before: i64| {
        wait_for("a session", Duration::from_secs(10) * SLACK, async || {
            let greeted = epochs().await.1;
            (greeted > before && agent.status()["session"]["state"] == "connected").then_some(greeted)
        })
        .await
    };
    agent.process.kill();
    agent.restart();
    let greeted = back(&agent, before.1).await;
    controller.kill_and_restart().await;
    back(&agent, greeted).await;
}
