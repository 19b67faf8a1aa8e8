//! Fuzz targets of messages from hosts: the request to join, and the response to Hello.

use prost::Message as _;
use supalove_certs::{CaFingerprint, JoinToken};
use supalove_fuzz::{Samples, Verdict, bytes};
use supalove_proto::node::v1::{
    BlockedSlot, Capacity, EnrollRequest, HelloResponse, NodeCondition, NodeConditions,
};
use supalove_spec::{
    limits::{CONDITIONS, NODE_TEXT_CHARS},
    text::is_plain,
};
use uuid::Uuid;

use super::{conditions, enrolment, hello_values, nodes};
use supalove_core::error::Error;

#[test]
fn enrolment_requests() {
    let ca: CaFingerprint = "07".repeat(32).parse().unwrap();
    let token = JoinToken::generate(ca, Uuid::from_u128(7)).unwrap();
    let sample = EnrollRequest {
        join_token: token.to_string(),
        hostname: "node-1.example.com".into(),
        csr_pem: "-----BEGIN CERTIFICATE REQUEST-----".into(),
        agent_version: "0.1.0".into(),
    };
    bytes(
        "Enroll",
        &Samples::new([sample.encode_to_vec()]).words(["slj1.", "-", ".", "\u{1b}[2J"]),
        |input| {
            let Ok(request) = EnrollRequest::decode(input) else { return Verdict::Refused };
            let checked = enrolment::checked(&request);
            match &checked {
                Ok((hostname, read)) => {
                    assert!(!hostname.is_empty() && hostname.len() <= 253);
                    assert!(hostname.bytes().all(|b| b.is_ascii_graphic() && !b.is_ascii_uppercase()));
                    assert!(is_plain(&request.agent_version, NODE_TEXT_CHARS));
                    let same = read.to_string() == token.to_string();
                    assert_eq!(
                        read.verify_hash(&token.secret_hash()) && read.id() == token.id() && read.ca() == ca,
                        same
                    );
                }
                Err(Error::Invalid(fields)) => assert!(fields.iter().all(|field| !field.field.is_empty())),
                Err(error) => panic!("not the caller's fault? {error:?}"),
            }
            Verdict::from_result(&checked)
        },
    );
}

#[test]
fn hellos() {
    let sample = HelloResponse {
        protocol_min: 1,
        protocol_max: 1,
        agent_version: "0.1.0".into(),
        engine_version: "20.10".into(),
        capacity: Some(Capacity { cpu_millis: 2000, memory_mib: 4096, disk_mib: 10_000 }),
        boot_id: "b".into(),
        advertise_address: "node-1.example.com".into(),
        port_base: 5500,
        slots: 2048,
        network_range: "10.213.0.0/16".into(),
        blocked_slots: vec![BlockedSlot { slot: 3, reason: "port 5524 is in use".into() }],
        agent_run_id: "run".into(),
        trusted_ca_sha256: vec!["07".repeat(32)],
        ..HelloResponse::default()
    };
    let words = ["10.0.0.0/8", "10.213.0.1/16", "0.0.0.0/0", "::1", "/27"];
    bytes("Hello", &Samples::new([sample.encode_to_vec()]).words(words), |input| {
        let Ok(hello) = HelloResponse::decode(input) else { return Verdict::Refused };
        let values = hello_values(&hello);
        match &values {
            Ok(values) => check_hello(values),
            Err(why) => assert!(!why.is_empty()),
        }
        Verdict::from_result(&values)
    });
}

#[test]
fn node_conditions() {
    let condition = NodeCondition {
        reason: "ENGINE_SILENT".into(),
        message: "the Docker Engine does not answer".into(),
        since: Some(prost_types::Timestamp { seconds: 1_760_000_000, nanos: 0 }),
        blocking: true,
    };
    let sample = NodeConditions { conditions: vec![condition] };
    let words = [&b"\x0a\x00"[..], b"\x1b[2J", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"];
    bytes("NodeConditions", &Samples::new([sample.encode_to_vec()]).words(words), |input| {
        let Ok(told) = NodeConditions::decode(input) else { return Verdict::Refused };
        let kept = conditions(&told);
        assert!(kept.len() <= CONDITIONS && kept.len() <= told.conditions.len());
        for one in &kept {
            assert!(!one.reason.is_empty() && one.reason.is_ascii() && one.reason.len() <= NODE_TEXT_CHARS);
            assert!(!one.message.contains(char::is_control), "{:?}", one.message);
            assert!(one.since.is_none_or(|since| since.timestamp() >= 0));
        }
        if kept.is_empty() { Verdict::Refused } else { Verdict::Accepted }
    });
}

/// Every slot has its ports and its network, and every text can be a row.
fn check_hello(values: &nodes::HelloValues) {
    assert!(values.slots >= 0 && values.port_base >= 1024);
    assert!(i64::from(values.port_base) + i64::from(values.slots) * 8 <= 65_536);
    let networks = 1_u64 << (27 - values.network_range.prefix_len());
    assert!(u64::try_from(values.slots).unwrap() <= networks);
    assert_eq!(values.network_range.network(), values.network_range.addr());
    assert!(values.cpu_millis >= 0 && values.memory_mib >= 0 && values.disk_mib >= 0);
    assert!(values.cpu_millis.checked_mul(8).is_some(), "overcommit must not overflow");
    assert_eq!(values.blocked.len(), values.blocked_reasons.len());
    assert!(values.trusted_ca.iter().all(|root| root.parse::<CaFingerprint>().is_ok()));
    let texts = [
        &values.boot_id,
        &values.run_id,
        &values.agent_version,
        &values.engine_version,
        &values.advertise_address,
    ];
    for text in texts.into_iter().chain(&values.blocked_reasons) {
        assert!(text.chars().count() <= 253 && !text.contains(char::is_control), "{text:?}");
    }
}
