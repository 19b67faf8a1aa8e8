//! Fuzz targets of the small formats in a specification: names that become paths or arguments, and placement tokens.

use std::path::Path;

use supalove_fuzz::{Samples, Verdict, bytes, text};
use supalove_proto::node::v1::Placement;

use supalove_spec::names;

use super::substitute;

#[test]
fn names_of_all_kinds() {
    let sound = [
        "abcdefghijklmnopqrst",
        "db_data",
        "realtime-dev.supabase-realtime",
        "/etc/nginx/conf.d",
        "hello/index.ts",
        "1993:1993",
        "SIGINT",
        "registry.example.org:5000/a_b/c-d:v1.2_3",
    ];
    let samples = Samples::new(sound).words(["--", "../", "/./", ":latest", "@sha256:", "SIG", "A="]);
    text("names", &samples, |input| {
        let checks = [
            names::is_project_ref(input),
            names::is_name(input, 32),
            names::is_volume(input),
            names::is_alias(input),
            names::is_env_name(input),
            names::is_user(input),
            names::is_signal(input),
            names::is_image(input),
        ];
        if checks.contains(&true) && !input.is_empty() {
            let plain = input.bytes().all(|byte| byte.is_ascii_graphic());
            assert!(plain && input.len() <= 512, "a name holds what no name holds");
        }
        let is_image = checks[7];
        let is_env_name = checks[4];
        assert!(
            !is_image || (!input.starts_with('-') && !input.contains("..//")),
            "an image looks like an option"
        );
        assert!(!is_env_name || !input.contains('='));
        if names::is_relative_path(input) {
            let path = Path::new("/base").join(input);
            assert!(path.starts_with("/base") && path.components().all(|part| part.as_os_str() != ".."));
        }
        assert_eq!(
            names::is_container_path(input),
            input.strip_prefix('/').is_some_and(names::is_relative_path)
        );
        if checks.contains(&true) { Verdict::Accepted } else { Verdict::Refused }
    });
}

#[test]
fn placement_tokens() {
    let placement = Placement {
        api_url: "http://h:5500".into(),
        api_host: "h".into(),
        api_port: 5500,
        db_port: 5501,
        ..Placement::default()
    };
    let sound = ["a=${placement.api_url}/x $host ${OTHER} ${placement.api_port},${placement.db_port}"];
    let samples = Samples::new(sound).words(["${placement.", "${placement.api_host}", "}", "$", "{"]);
    bytes("placement tokens", &samples, |input| {
        let replaced = substitute(input, &placement);
        if let Ok(replaced) = &replaced {
            let begins = |bytes: &[u8]| bytes.windows(12).filter(|window| *window == b"${placement.").count();
            assert_eq!(begins(replaced), 0, "a token is left");
            assert_eq!(begins(input) == 0, replaced == input, "only tokens are replaced");
        }
        Verdict::from_result(&replaced)
    });
}
