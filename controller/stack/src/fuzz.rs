//! Fuzz targets of stack releases: `stack.yaml`, its templates, and the settings in them.

use std::{collections::BTreeMap, fmt::Write as _};

use prost::Message as _;
use supalove_fuzz::{Samples, Verdict, bytes, text};

use super::{
    ProjectInput, ProjectSecrets, ProjectSettings, Release, ReleaseError, render, tests::TINY,
    validate::Files,
};

const REF: &str = "abcdefghijklmnopqrst";

fn files(template: &str) -> Files {
    Files::from([("web.conf".to_owned(), template.as_bytes().to_vec())])
}

fn load(manifest: &[u8], template: &str) -> Result<Release, ReleaseError> {
    Release::load("tiny", manifest, files(template))
}

/// What the smallest release lacks.
fn rich() -> String {
    let second = r#"
  - name: worker
    image: example/worker:2
    launch: postgres
    aliases: [db, realtime-dev.supabase-realtime]
    env:
      URL: { value: "${placement.api_url}", bind_placement: true }
    probe:
      postgres: { port: 5432, user: supabase_admin, password: "{{ secrets.postgres_password }}", database: postgres }
      interval_ms: 1000
      timeout_ms: 500
      ready_within_seconds: 10
      failures: 3
    depends_on: [web]
    limits: { cpu_millis: 100, memory_mib: 64, pids: 10, open_files: 1024 }
    reserve: { cpu_millis: 50, memory_mib: 32, disk_mib: 16 }
    security:
      tmpfs: [{ path: /tmp, size_mib: 16, mode: "1777", uid: 0, gid: 0 }]
      exceptions: [{ allow: image_user, reason: "its start script drops root by itself" }]
    stop: { signal: SIGQUIT, grace_seconds: 5 }
"#;
    format!("{}{}", TINY.trim_end(), second)
}

#[test]
fn stack_yaml() {
    let secrets = ProjectSecrets::generate(REF).unwrap();
    let settings = ProjectSettings::default();
    let input =
        ProjectInput { project_ref: REF, project_name: "Shop", secrets: &secrets, settings: &settings };
    let words = [
        "&a ",
        "*a",
        "<<: *a\n",
        "!!binary ",
        "|\n",
        "- ",
        "? ",
        "{",
        "[",
        "[[[[[[[[",
        "~",
        "null",
        "0x7fffffff",
        ".inf",
        "1e999",
        "---\n",
        "\u{feff}",
        "../",
        "${placement.api_url}",
        "${placement.",
        "{{ secrets.anon_key }}",
        "0777",
        "image_user",
    ];
    bytes("stack.yaml", &Samples::new([TINY.to_owned(), rich()]).words(words), |manifest| {
        let loaded = load(manifest, "key {{ secrets.anon_key }}");
        match &loaded {
            Ok(release) => check_rendered(release, &input, manifest.len()),
            Err(ReleaseError::Invalid(problems)) => {
                assert!(!problems.is_empty());
                for problem in problems {
                    assert_eq!(problem.file, "tiny/stack.yaml");
                    assert!(!problem.field.is_empty() && !problem.what.is_empty(), "{problem:?}");
                }
            }
            Err(error) => assert!(error.to_string().contains("tiny/stack.yaml"), "{error}"),
        }
        Verdict::from_result(&loaded)
    });
}

/// A release that loads renders deterministically or fails with a place; its size is bounded by its file's.
fn check_rendered(release: &Release, input: &ProjectInput<'_>, length: usize) {
    assert_eq!(release.name(), "tiny");
    assert!(release.manifest.services.len() <= 32);
    for service in &release.manifest.services {
        for mount in &service.config {
            assert!(mount.path.starts_with('/') && !mount.path.split('/').any(|part| part == ".."));
            assert!(mount.files.iter().all(|file| !file.path.split('/').any(|part| part == "..")));
        }
        for exception in &service.security.exceptions {
            assert!(exception.reason.trim().len() >= 15, "an exception without a reason");
        }
    }
    match render(release, input) {
        Ok(spec) => {
            let size = spec.encoded_len();
            assert_eq!(render(release, input).unwrap(), spec, "rendering is deterministic");
            // Each template of the sample puts in one key of a few hundred bytes.
            assert!(size <= length * 64, "{size} bytes from {length}");
        }
        Err(error) => {
            let said = error.to_string();
            assert!(!said.contains(input.secrets.anon_key()) && !error.place.is_empty(), "{said}");
        }
    }
}

#[test]
fn templates() {
    let secrets = ProjectSecrets::generate(REF).unwrap();
    let settings = ProjectSettings::default();
    let input =
        ProjectInput { project_ref: REF, project_name: "Shop", secrets: &secrets, settings: &settings };
    let samples = [
        "{% for name in services %}{% if 'web' in services %}{{ name | regex_escape }} {{ loop.index }}{% endif %}{% endfor %}",
        "{{ secrets.anon_key | regex_escape }} {{ settings.function_secrets | tojson }} {{ settings.jwt_exp_seconds + 1 }}",
        "{% set a = project.ref %}{% macro m(x) %}{{ x }}{% endmacro %}{{ m(a) }}{# no #}{% raw %}{{ }}{% endraw %}",
    ];
    let words = [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "{% for i in range(99999) %}",
        "{% endfor %}",
        "{{ m(m) }}",
        "secrets",
        "|",
        "nonsense",
    ];
    text("templates", &Samples::new(samples).words(words), |template| {
        let loaded = load(TINY.as_bytes(), template);
        let Ok(release) = &loaded else { return Verdict::Refused };
        let rendered = render(release, &input);
        if let Err(error) = &rendered {
            assert!(!error.to_string().contains(secrets.anon_key()), "an error shows a value");
        }
        Verdict::from_result(&rendered)
    });
}

/// A setting stays a value, even if it looks like a template.
#[test]
fn settings_in_templates() {
    let secrets = ProjectSecrets::generate(REF).unwrap();
    let template =
        "{\"name\":{{ project.name | tojson }},\"secrets\":{{ settings.function_secrets | tojson }}}";
    let release = load(TINY.as_bytes(), template).unwrap();
    let samples =
        Samples::new(["sk_live_\"quoted\"'\\", "{{ secrets.postgres_password }}", "${placement.api_url}"])
            .words(["{{", "{%", "\"", "\\", "</script>", "\u{2028}", "secrets"]);
    text("settings in templates", &samples, |value| {
        let settings = ProjectSettings {
            function_secrets: BTreeMap::from([
                ("KEY".to_owned(), value.to_owned()),
                (value.to_owned(), "x".to_owned()),
            ]),
            ..ProjectSettings::default()
        };
        let input =
            ProjectInput { project_ref: REF, project_name: value, secrets: &secrets, settings: &settings };
        let spec = render(&release, &input).unwrap();
        let content = &spec.services[0].config_mounts[0].files[0].content;
        let read: serde_json::Value = serde_json::from_slice(content).unwrap();
        assert_eq!(read["name"], value);
        assert_eq!(read["secrets"], serde_json::json!(settings.function_secrets));
        // "Accepted" is what looks like a template.
        if value.contains("{{") { Verdict::Accepted } else { Verdict::Refused }
    });
}

/// Small files that would expand to large releases.
#[test]
fn a_small_file_cannot_become_a_large_release() {
    let refused = |manifest: &str| {
        let started = std::time::Instant::now();
        let error = load(manifest.as_bytes(), "").unwrap_err().to_string();
        assert!(started.elapsed().as_secs() < 5, "{error}");
        error
    };
    let mut laughs = "a: &a lol\n".to_owned();
    for name in b'b'..=b'z' {
        let before = char::from(name - 1);
        let name = char::from(name);
        let eight = vec![format!("*{before}"); 8].join(",");
        writeln!(laughs, "{name}: &{name} [{eight}]").unwrap();
    }
    assert!(refused(&laughs).contains("anchor"));
    let long = "x".repeat(100_000);
    let repeated = format!("volumes: [&v {long}{}]\n", ", *v".repeat(30_000));
    assert!(refused(&TINY.replace("volumes: [data]\n", &repeated)).contains("anchor &v"));
    assert!(refused(&"#".repeat(300_000)).contains("at most 262144"));
    assert!(refused(&"[".repeat(100_000)).contains("opens 100000 brackets"));
    assert!(refused(&"[".repeat(4_000)).contains("tiny/stack.yaml"));
    assert!(refused(&"- ".repeat(100_000)).contains("tiny/stack.yaml"));
    assert!(refused(&"? ".repeat(100_000)).contains("tiny/stack.yaml"));
    let names: Vec<String> = (0..30_000).map(|number| format!("v{number}")).collect();
    let many = TINY.replace("volumes: [data]", &format!("volumes: [{}]", names.join(",")));
    assert!(refused(&many).contains("volumes: has 30000, at most 32"));
    // Anchors with references are refused too.
    for harmless in ["a & b * c", "&x *y"] {
        assert!(
            load(TINY.replace("one container", harmless).as_bytes(), "").is_err()
                == harmless.starts_with('&')
        );
    }
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let secrets = ProjectSecrets::generate(REF).unwrap();
    let settings = ProjectSettings::default();
    let input =
        ProjectInput { project_ref: REF, project_name: "Shop", secrets: &secrets, settings: &settings };
    let nested = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    let release = load(TINY.as_bytes(), nested).unwrap();
    let error = render(&release, &input).unwrap_err();
    assert!(error.to_string().contains("fuel"), "{error}");
}
