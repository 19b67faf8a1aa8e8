//! A caller's request as the agent gets it.

use chrono::DateTime;
use supalove_core::error::{Error, Result};
use supalove_proto::{
    node::v1::{LogPosition, ReadLogsRequest},
    v1::{self as pb, TailLogsRequest},
};
use supalove_spec::limits::{LOG_LINES, SERVICES};

/// Lines of each service if the caller does not say how many.
const DEFAULT_LINES: u32 = 100;

/// Checks a request. `known`: the services of the project; empty while nobody knows them.
pub fn checked(body: TailLogsRequest, known: &[&str]) -> Result<ReadLogsRequest> {
    if body.services.len() > SERVICES {
        return Err(Error::field("services", format!("must be at most {SERVICES} names")));
    }
    let unknown = body.services.iter().position(|name| !known.contains(&name.as_str()));
    if let Some(index) = unknown.filter(|_| !known.is_empty()) {
        return Err(Error::field(
            format!("services[{index}]"),
            format!("must be a service of the project; it has {}", known.join(", ")),
        ));
    }
    let lines = body.tail.unwrap_or(DEFAULT_LINES);
    if lines > LOG_LINES {
        return Err(Error::field("tail", format!("must be at most {LOG_LINES}")));
    }
    if body.after.len() > 2 * SERVICES {
        return Err(Error::field("after", "must be at most one for each output of each service"));
    }
    if let Some(since) = &body.since {
        check_time("since", since)?;
    }
    let after = body.after.into_iter().enumerate();
    let after = after.map(|(index, position)| self::position(index, position)).collect::<Result<_>>()?;
    Ok(ReadLogsRequest {
        project_ref: body.project_ref,
        services: body.services,
        since: body.since,
        lines,
        follow: body.follow,
        after,
    })
}

fn position(index: usize, position: pb::LogPosition) -> Result<LogPosition> {
    let stderr = match position.output() {
        pb::LogOutput::Stdout => false,
        pb::LogOutput::Stderr => true,
        pb::LogOutput::Unspecified => {
            return Err(Error::field(format!("after[{index}].output"), "must be STDOUT or STDERR"));
        }
    };
    let field = format!("after[{index}].time");
    let time = position.time.ok_or_else(|| Error::field(field.clone(), "must be set"))?;
    check_time(&field, &time)?;
    Ok(LogPosition { service: position.service, stderr, time: Some(time), lines: position.lines })
}

fn check_time(field: &str, time: &prost_types::Timestamp) -> Result<()> {
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    match nanos.and_then(|nanos| DateTime::from_timestamp(time.seconds, nanos)) {
        Some(_) => Ok(()),
        None => Err(Error::field(field, "must be a time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(body: TailLogsRequest) -> String {
        match checked(body, &["api", "auth"]).unwrap_err() {
            Error::Invalid(violations) => violations[0].field.clone(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn wrong_fields_are_named() {
        let body = TailLogsRequest { services: vec!["auth".into()], ..TailLogsRequest::default() };
        let request = checked(body.clone(), &["api", "auth"]).unwrap();
        assert_eq!((request.lines, request.follow), (DEFAULT_LINES, false));
        let request = checked(TailLogsRequest { tail: Some(0), ..body.clone() }, &[]).unwrap();
        assert_eq!(request.lines, 0, "and nobody knows the services yet");
        let time = |nanos| Some(prost_types::Timestamp { seconds: 1, nanos });
        let after = |output, time| vec![pb::LogPosition { output, time, service: "api".into(), lines: 1 }];
        let stdout = pb::LogOutput::Stdout.into();
        for (wrong, named) in [
            (TailLogsRequest { services: vec!["api".into(), "sshd".into()], ..body.clone() }, "services[1]"),
            (TailLogsRequest { services: vec!["api".into(); SERVICES + 1], ..body.clone() }, "services"),
            (TailLogsRequest { tail: Some(LOG_LINES + 1), ..body.clone() }, "tail"),
            (TailLogsRequest { since: time(-1), ..body.clone() }, "since"),
            (TailLogsRequest { after: after(0, time(0)), ..body.clone() }, "after[0].output"),
            (TailLogsRequest { after: after(stdout, None), ..body.clone() }, "after[0].time"),
            (TailLogsRequest { after: after(stdout, time(1_000_000_000)), ..body.clone() }, "after[0].time"),
        ] {
            assert_eq!(field(wrong), named);
        }
    }
}

#[cfg(test)]
mod fuzz {
    use prost::Message as _;
    use supalove_fuzz::{Samples, Verdict, bytes};

    use super::*;

    #[test]
    fn requests_for_logs() {
        let time = Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 6 });
        let position = pb::LogPosition { service: "api".into(), output: 1, time, lines: 2 };
        let whole = TailLogsRequest {
            services: vec!["api".into()],
            since: time,
            tail: Some(7),
            follow: true,
            after: vec![position],
            ..TailLogsRequest::default()
        };
        let samples = [whole.encode_to_vec(), TailLogsRequest::default().encode_to_vec()];
        // Times with extreme parts, and positions without a time.
        let words: [&[u8]; 3] = [
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x10\x80\x80\x80\x80\xf8\xff\xff\xff\xff\x01",
            b"\x32\x00",
        ];
        bytes("requests for logs", &Samples::new(samples).words(words), |input| {
            let Ok(request) = TailLogsRequest::decode(input) else { return Verdict::Refused };
            let checked = checked(request, &["api", "auth"]);
            if let Ok(request) = &checked {
                assert!(request.lines <= LOG_LINES && request.after.len() <= 2 * SERVICES);
                assert!(request.services.iter().all(|name| name == "api" || name == "auth"));
                let times = request.since.iter().chain(request.after.iter().flat_map(|one| &one.time));
                assert!(times.into_iter().all(|time| (0..1_000_000_000).contains(&time.nanos)));
            }
            Verdict::from_result(&checked)
        });
    }
}
