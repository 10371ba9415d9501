//! Any configuration is used or refused; none causes a panic.

use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;
use toml::{Table, Value};

use super::*;

fn load(text: &str, environment: &Environment, overrides: &Overrides) -> Result<Config, ConfigError> {
    let settings = file::Settings::merge(Some(text), "config.toml", environment, overrides)?;
    validate::config(settings, environment)
}

/// Texts that are almost valid values, and arbitrary ones.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9]{1,25}(ms|s|m|h|d|y| years)?",
        "[0-7]{1,5}",
        "(https?|socks5|tcp)?:?/?/?[a-z0-9@:%.,;=\\\\\\[\\]-]{0,20}(/[a-z?#]*)?",
        "(mssql|sqlite|jwt|strict|server-local|off|warning|journald|dbo\\.[a-z]+|daemon|/tmp|\\.)",
        any::<u64>().prop_map(|number| format!("{number}s")),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text().prop_map(Value::String),
        1 => any::<i64>().prop_map(Value::Integer),
        1 => any::<f64>().prop_map(Value::Float),
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => Just(Value::Array(vec![Value::Integer(1)])),
        1 => Just(Value::Table(Table::new())),
    ]
}

/// Lists all keys as section and name.
fn keys() -> Vec<(String, String)> {
    let defaults: Table = toml::from_str(DEFAULTS).unwrap();
    let of_section = |(section, keys): (String, Value)| {
        let Value::Table(keys) = keys else { panic!("{section} is no section") };
        keys.into_iter().map(move |(key, _)| (section.clone(), key)).collect::<Vec<_>>()
    };
    defaults.into_iter().flat_map(of_section).collect()
}

fn settings() -> impl Strategy<Value = Table> {
    let some = prop::collection::vec((prop::sample::select(keys()), value()), 0..5);
    some.prop_map(|pairs| {
        let mut table = Table::new();
        for ((section, key), value) in pairs {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            section.as_table_mut().unwrap().insert(key, value);
        }
        table
    })
}

fn variables() -> impl Strategy<Value = Environment> {
    let name = prop::sample::select(vec![
        "MSSQL_SERVER",
        "MSSQL_DATABASE",
        "MSSQL_USER",
        "MSSQL_PASSWORD",
        "THINGSBOARD_URL",
        "RUST_LOG",
    ]);
    prop::collection::btree_map(name.prop_map(str::to_owned), text(), 0..4)
}

fn overrides() -> impl Strategy<Value = Overrides> {
    (prop::option::of(text()), prop::option::of(text())).prop_map(|(socket, log_level)| Overrides {
        file: None,
        socket: socket.map(PathBuf::from),
        log_level,
    })
}

/// Checks that an error is one line that names the key, and that an effective configuration can be read again.
fn used_or_refused(answer: &Result<Config, ConfigError>) {
    match answer {
        Ok(config) => {
            let again: Table = toml::from_str(&config.effective).unwrap();
            assert!(again.contains_key("schedule"));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("config.toml") || text.contains(['.', '_']), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
}

proptest! {
    #[test]
    fn p22_no_value_of_a_key_panics(
        table in settings(), environment in variables(), overrides in overrides(),
    ) {
        used_or_refused(&load(&toml::to_string(&table).unwrap(), &environment, &overrides));
    }

    #[test]
    fn p22_no_file_panics(text in any::<String>(), toml in "(\\[?[a-z]{1,9}(\\.[a-z]+)?\\]?( = [0-9\"'{}]+)?\n){0,6}") {
        let nothing = (Environment::new(), Overrides::default());
        used_or_refused(&load(&text, &nothing.0, &nothing.1));
        used_or_refused(&load(&toml, &nothing.0, &nothing.1));
    }
}

#[test]
fn a_relevant_variable_that_is_not_utf8_is_refused() {
    let latin1 = || OsString::from_vec(b"p\xe4ssword".to_vec());
    let of = |name: &str| environment_of([(OsString::from(name), latin1())].into_iter());
    assert_eq!(of("UNRELATED_VARIABLE").unwrap(), Environment::new());
    let error = of("MSSQL_PASSWORD").unwrap_err().to_string();
    assert!(error.contains("MSSQL_PASSWORD is not UTF-8") && !error.contains("ssword"), "{error}");
    let kept = environment_of([("RUST_LOG".into(), "debug".into()), ("HOME".into(), "/".into())].into_iter());
    assert_eq!(kept.unwrap(), Environment::from([("RUST_LOG".to_owned(), "debug".to_owned())]));
}

/// The operator must not search the file for a value that comes from another source.
#[test]
fn the_error_for_a_bad_value_names_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[log]\nlevel = \"info\"\n").unwrap();
    let said = |environment: &[(&str, &str)], log_level: Option<&str>| {
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let overrides =
            Overrides { file: Some(file.clone()), socket: None, log_level: log_level.map(Into::into) };
        Source { overrides, environment }.load().unwrap_err().to_string()
    };
    let from = |place: &str| format!("(this value comes from {place}, not from the file)");
    let told = said(&[("RUST_LOG", "loud")], None);
    assert!(
        told.contains("log.level = \"loud\"") && told.ends_with(&from("the environment variable RUST_LOG")),
        "{told}"
    );
    let told = said(&[("RUST_LOG", "info")], Some("loud"));
    assert!(told.ends_with(&from("--log-level")), "{told}");
    let told = said(&[("THINGSBOARD_URL", "tb.example.com")], None);
    assert!(told.ends_with(&from("the environment variable THINGSBOARD_URL")), "{told}");
    std::fs::write(&file, "[log]\nlevel = \"loud\"\n").unwrap();
    let told = said(&[], None);
    assert!(!told.contains("comes from"), "{told}");
}

#[test]
fn a_server_without_a_kind_is_no_sqlite_file() {
    let server = "[store]\nserver = \"sql01\"\n";
    let load = |text: &str, variables: &[(&str, &str)]| {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        load(text, &variables, &Overrides::default()).map_err(|error| error.to_string())
    };
    let told = load(server, &[]).unwrap_err();
    assert!(told.contains("store.server = \"sql01\"") && told.contains("store.kind = \"mssql\""), "{told}");
    // The kind was set on purpose, or by the environment of the earlier service.
    assert!(load(&format!("{server}kind = \"sqlite\"\n"), &[]).is_ok());
    let told = load(server, &[("MSSQL_SERVER", "sql02")]).unwrap_err();
    assert!(told.contains("store.database is missing"), "{told}");
}

#[test]
fn only_a_missing_file_means_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    assert_eq!(read_if_there(&file).unwrap(), None);
    std::fs::write(&file, "# nothing\n").unwrap();
    assert_eq!(read_if_there(&file).unwrap().as_deref(), Some("# nothing\n"));
    // Root may read every file, so a path below a file replaces one without permission.
    assert!(matches!(read_if_there(&file.join("config.toml")), Err(ConfigError::Unreadable { .. })));
    std::fs::write(&file, b"\xe4").unwrap();
    let said = crate::text::with_causes(&read_if_there(&file).unwrap_err());
    assert!(said.contains("config.toml cannot be read: ") && said.contains("UTF-8"), "{said}");
}

/// The settings have no types beside the default file, so each key that is read must be there with its type.
#[test]
fn every_key_that_is_read_has_a_default_of_its_type() {
    let load = |text: &str, environment: &[(&str, &str)]| {
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        load(text, &environment, &Overrides::default())
    };
    assert!(load("", &[]).is_ok());
    let all_parts = "[store]\nkind = \"mssql\"\nserver = \"sql01\"\ndatabase = \"app\"\nuser = \"svc\"\n\
                     [control]\nmonitor_socket = \"/run/monitor.sock\"\n[http]\nlisten = \"unix:/run/http.sock\"\n\
                     [[notify.receiver]]\nname = \"a\"\nkind = \"webhook\"\nformat = \"slack\"\nurl = \"https://x/\"\n\
                     [[notify.receiver]]\nname = \"b\"\nkind = \"email\"\nto = [\"a@b.c\"]\nfrom = \"a@b.c\"\nsmtp = \"x:25\"\n";
    load(all_parts, &[("MSSQL_PASSWORD", "p")]).unwrap();
}

#[test]
fn a_list_holds_texts_only() {
    let nothing = (Environment::new(), Overrides::default());
    let error = load("[http]\nallowed_hosts = [\"a\", 1]\n", &nothing.0, &nothing.1).unwrap_err().to_string();
    assert_eq!(error, "config.toml: a value in http.allowed_hosts must be a text in quotes, but is a number");
}

/// Each receiver that cannot work is refused with its key; the rest of the section is complete.
#[test]
fn a_receiver_that_cannot_work_is_refused_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let (good, open) = (secret("good", "p\n", 0o640), secret("open", "p\n", 0o644));
    let http = secret("http", "http://chat.example.com/hook-canary\n", 0o600);
    let mail = "name = \"m\"\nkind = \"email\"\nto = [\"ops@example.com\"]\nfrom = \"a@b.example\"\nsmtp = \"mail.example:587\"\n";
    let hook = "name = \"h\"\nkind = \"webhook\"\nformat = \"slack\"\nurl = \"https://chat.example.com/x\"\n";
    let read = |text: &str| load(text, &Environment::new(), &Overrides::default());
    let receiver = |base: &str, changes: &str| {
        let changed: Vec<&str> = changes.lines().filter_map(|line| line.split(" =").next()).collect();
        let kept =
            base.lines().filter(|line| !changed.iter().any(|key| line.starts_with(&format!("{key} ="))));
        let kept: Vec<&str> = kept.collect();
        read(&format!("[[notify.receiver]]\n{}\n{changes}\n", kept.join("\n")))
    };
    for fine in [receiver(mail, ""), receiver(hook, ""), receiver(hook, "url = \"http://127.0.0.1:1/\"")] {
        assert_eq!(fine.unwrap().notify.unwrap().receivers.len(), 1);
    }
    assert!(receiver(mail, &format!("user = \"u\"\npassword_file = \"{good}\"")).is_ok());
    assert!(read("").unwrap().notify.is_none());
    let files = [&good, &open, &http];
    let [good, open, http] = files.map(|file| format!("\"{file}\""));
    for (base, changes, key) in [
        (mail, format!("tls = \"none\"\nuser = \"u\"\npassword_file = {good}"), "notify.receiver.tls"),
        (mail, "tls = \"maybe\"".to_owned(), "notify.receiver.tls"),
        (mail, "user = \"u\"".to_owned(), "notify.receiver.password_file"),
        (mail, format!("user = \"u\"\npassword_file = {open}"), "notify.receiver.password_file"),
        (mail, "smtp = \"mail.example\"".to_owned(), "notify.receiver.smtp"),
        (mail, "to = []".to_owned(), "notify.receiver.to"),
        (mail, "to = [\"ops@example.com\\r\\nBcc: x@y.z\"]".to_owned(), "notify.receiver.to"),
        (mail, "from = \"no-address\"".to_owned(), "notify.receiver.from"),
        (mail, "name = \"Ops Mail\"".to_owned(), "notify.receiver.name"),
        (mail, "name = \"ops-secret\"".to_owned(), "notify.receiver.name"),
        (mail, "kind = \"pigeon\"".to_owned(), "notify.receiver.kind"),
        (mail, "causes = [\"weather\"]".to_owned(), "notify.receiver.causes"),
        (mail, "min_severity = \"low\"".to_owned(), "notify.receiver.min_severity"),
        (mail, "ca_file = \"ca.pem\"".to_owned(), "notify.receiver.ca_file"),
        (mail, "smpt = \"x\"".to_owned(), "notify.receiver.smpt; did you mean notify.receiver.smtp?"),
        (mail, "send_resolved = \"yes\"".to_owned(), "notify.receiver.send_resolved"),
        (hook, format!("url = \"\"\nurl_file = {http}"), "notify.receiver.url_file"),
        (hook, "url = \"ftp://x/\"".to_owned(), "notify.receiver.url_file"),
        (hook, "url = \"\"".to_owned(), "notify.receiver.url_file"),
        (hook, "format = \"xml\"".to_owned(), "notify.receiver.format"),
        (hook, format!("format = \"standard\"\nsecret_file = {good}"), "notify.receiver.secret_file"),
        // What would be ignored.
        (hook, format!("secret_file = {good}"), "only messages of the format standard"),
        (hook, format!("url = \"https://x/canary\"\nurl_file = {http}"), "notify.receiver.url "),
        (hook, "to = [\"a@b.example\"]".to_owned(), "notify.receiver.to"),
        (hook, "tls = \"starttls\"".to_owned(), "notify.receiver.tls"),
        (mail, format!("password_file = {good}"), "needs notify.receiver.user"),
        (mail, "url = \"https://x/canary\"".to_owned(), "notify.receiver.url "),
        (mail, "allow_http = true".to_owned(), "notify.receiver.allow_http"),
    ] {
        let error = receiver(base, &changes).unwrap_err().to_string();
        assert!(error.contains(key), "{changes}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
    for (text, key) in [
        ("[notify]\ngroup_wait = \"0s\"".to_owned(), "notify.group_wait"),
        ("[notify]\nresolve_wait = \"8d\"".to_owned(), "notify.resolve_wait"),
        ("[notify]\nrepeat_interval = \"1m\"".to_owned(), "notify.repeat_interval"),
        (format!("[notify]\nlink = \"https://x/{}\"", "a".repeat(500)), "notify.link"),
        ("[notify]\nreceiver = [1]".to_owned(), "notify.receiver must be a section"),
        (format!("[[notify.receiver]]\n{mail}[[notify.receiver]]\n{mail}"), "two receivers"),
        (
            (0..17)
                .map(|n| format!("[[notify.receiver]]\n{}", mail.replace("\"m\"", &format!("\"m{n}\""))))
                .collect(),
            "more than 16",
        ),
    ] {
        let error = read(&text).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
    // The effective configuration shows the server alone.
    let shown = receiver(hook, "url = \"https://chat.example.com/canary\"").unwrap().effective;
    assert!(shown.contains("https://chat.example.com/***") && !shown.contains("canary"), "{shown}");
}
