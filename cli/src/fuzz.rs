//! Fuzz targets of the command line's input: times, its own file, and responses that it shows on a terminal.

use prost::Message;
use supalove_fuzz::{Samples, Verdict, bytes, text};
use supalove_proto::v1::{
    ConfirmRestoreResponse, Endpoint, EndpointScheme, GetOperationResponse, GetProjectResponse,
    ListNodesResponse, Node, Operation, OperationError, Project, ProjectEvent, ProjectEventType,
    ProjectServiceStatus, ServiceState,
};

use crate::{
    chosen,
    commands::{nodes, operations, platform, projects::show},
    credentials, env_file, output, span, yaml,
};

#[test]
fn times() {
    text("times", &Samples::new(["1h30m", "7d", "0", "45s"]).words(["w", "d", "h", "m", "s"]), |input| {
        let read = span::parse(input);
        if let Ok(span) = read {
            assert_eq!(span::parse(&format!("{}s", span.as_secs())), Ok(span));
            assert!(span::to_proto(span).seconds >= 0);
        }
        Verdict::from_result(&read)
    });
}

#[test]
fn environment_files() {
    let samples = ["A=1\n# comment\nexport B=\"x\\n\"\n", "A='it is' # so\n"];
    text("environment files", &Samples::new(samples).words(["\\", "\"", "'", " #", "=", "\n"]), |input| {
        let read = env_file::parse(input);
        match &read {
            Ok(all) => assert!(all.len() <= input.lines().count()),
            Err(why) => assert!(why.starts_with("line ") && why.len() < 120, "{why}"),
        }
        Verdict::from_result(&read)
    });
}

#[test]
fn context_files() {
    let sample =
        r#"{"contexts":{"http://127.0.0.1:8000":{"organization":"acme","project":"abcdefghijklmnopqrst"}}}"#;
    let words = ["null", "{", "[", "\"contexts\":", "\\u0000", "\\ud800"];
    bytes("context.json", &Samples::new([sample]).words(words), |input| {
        let read = chosen::parse(input);
        if let Ok(contents) = &read {
            let again = chosen::parse(&serde_json::to_vec(contents).unwrap()).unwrap();
            assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(contents).unwrap());
        }
        Verdict::from_result(&read)
    });
}

#[test]
fn credentials_files() {
    let sample = r#"{"sessions":{"http://127.0.0.1:8000":{"email":"a@b.c","access_token":"t","access_token_expires":1,
        "refresh_token":"r"}}}"#;
    let words = ["null", "{", "[", "\"sessions\":", "\\u0000", "\\ud800", "1e400"];
    bytes("credentials.json", &Samples::new([sample]).words(words), |input| {
        let read = credentials::parse(input);
        if let Ok(contents) = &read {
            let again = credentials::parse(&serde_json::to_vec(contents).unwrap()).unwrap();
            assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(contents).unwrap());
        }
        Verdict::from_result(&read)
    });
}

fn project() -> Project {
    Project {
        r#ref: "abcdefghijklmnopqrst".into(),
        name: "Shop".into(),
        state_reason: "because".into(),
        endpoints: vec![Endpoint {
            scheme: EndpointScheme::Http.into(),
            host: "h".into(),
            port: 5500,
            ..Endpoint::default()
        }],
        services: vec![ProjectServiceStatus {
            name: "postgres".into(),
            state: ServiceState::Healthy.into(),
            message: "m".into(),
        }],
        create_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
        ..Project::default()
    }
}

/// No response of a server can control the terminal, and JSON output stays JSON.
#[test]
fn answers() {
    let error = OperationError {
        reason: "R".into(),
        message: "m".into(),
        log_tail: vec!["l".into()],
        ..Default::default()
    };
    let operation = Operation { id: "opr_1".into(), error: Some(error), ..Operation::default() };
    let event = ProjectEvent {
        seq: 7,
        r#type: ProjectEventType::ServiceReady.into(),
        message: "ready".into(),
        ..Default::default()
    };
    let node = Node {
        id: "nod_1".into(),
        name: "n".into(),
        blocked_slots: vec!["slot 1".into()],
        ..Node::default()
    };
    let with = |which: u8, message: Vec<u8>| [vec![which], message].concat();
    let samples = [
        with(0, GetProjectResponse { project: Some(project()) }.encode_to_vec()),
        with(1, GetOperationResponse { operation: Some(operation) }.encode_to_vec()),
        with(2, event.encode_to_vec()),
        with(4, ConfirmRestoreResponse { detail: "node a has generation 3".into() }.encode_to_vec()),
        with(3, ListNodesResponse { nodes: vec![node], ..ListNodesResponse::default() }.encode_to_vec()),
    ];
    let words = ["\u{1b}[2J", "\u{1b}]0;x\u{7}", "\r", "\u{9b}31m", "\u{85}"];
    bytes("answers", &Samples::new(samples).words(words), |input| {
        let Some((which, body)) = input.split_first() else { return Verdict::Refused };
        match which % 5 {
            0 => {
                shown("GetProjectResponse", body, |m: &GetProjectResponse| show::project(m.project.as_ref()))
            }
            1 => shown("GetOperationResponse", body, |m: &GetOperationResponse| {
                operations::one(m.operation.as_ref())
            }),
            4 => shown("ConfirmRestoreResponse", body, platform::confirmed),
            2 => shown("ProjectEvent", body, |m: &ProjectEvent| show::event(m)),
            _ => shown("ListNodesResponse", body, |m: &ListNodesResponse| {
                nodes::text::table_of(&m.nodes, true)
            }),
        }
    });
}

fn shown<M: Message + Default>(name: &str, body: &[u8], text: impl Fn(&M) -> String) -> Verdict {
    let Ok(message) = M::decode(body) else { return Verdict::Refused };
    let text = text(&message);
    assert!(!text.chars().any(|one| one.is_control() && one != '\n' && one != '\t'), "{text:?}");
    if let Ok(value) = output::value(name, &message) {
        let document = yaml::document(&value);
        assert!(!document.chars().any(|one| one.is_control() && one != '\n'), "{document:?}");
    }
    // A time beyond its type's range has no JSON form.
    let json = output::to_json(name, &message, false);
    if let Ok(json) = &json {
        serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert!(!json.chars().any(char::is_control), "{json}");
    }
    Verdict::from_result(&json)
}
