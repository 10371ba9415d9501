//! Taking lines apart, and what may stand on a command line.

use tbtoken_proto::{Phase, TokenStatus};

use super::*;

fn row(id: &str, user: &str) -> Customer {
    Customer {
        customer_id: id.to_owned(),
        tb_username: user.to_owned(),
        tb_url: String::new(),
        token_status: TokenStatus::Valid,
        tbtokenexpiry: None,
        check: None,
        minutes_until_expiry: None,
        state: Phase::Ok,
        last_success_at: None,
        renewals: 0,
        next_attempt_at: None,
        changes: vec![],
        failure: None,
    }
}

fn values(typed: &str, all: &[Customer]) -> Vec<String> {
    let candidates = customers(typed, all);
    candidates.iter().map(|candidate| candidate.get_value().to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_line_is_taken_apart_as_a_shell_does() {
    let words = |line: &str| split(line).0.join("|");
    assert_eq!(words("tbctl show ops@ac"), "tbctl|show|ops@ac");
    assert_eq!(words("tbctl show "), "tbctl|show|");
    assert_eq!(words("  tbctl\t show"), "tbctl|show");
    assert_eq!(words("tbctl show 'a b' c\\ d \"e \\\" f"), "tbctl|show|a b|c d|e \" f");
    assert_eq!(words("tbctl show '' x"), "tbctl|show||x");
    assert_eq!(words("tbctl show \\"), "tbctl|show|");
    assert_eq!(split("tbctl show a\\ b").1, "a\\ b");
}

#[test]
fn bash_replaces_only_the_end_of_a_word() {
    let kept =
        |line: &str, replaced: &str| Line::of_bash(&[OsString::from(line), OsString::from(replaced)]).kept;
    assert_eq!(kept("tbctl show ops@ac", "ac"), 4);
    assert_eq!(kept("tbctl show ops@ac", "@ac"), 3);
    assert_eq!(kept("tbctl show 8f1c", "8f1c"), 0);
    assert_eq!(kept("tbctl show ", ""), 0);
    assert_eq!(kept("tbctl show \"ops@ac", "ops@ac"), 0, "the quote is not counted");
    assert_eq!(kept("tbctl show 'ops@ac", "ac"), 4);
}

#[test]
fn ids_come_before_anything_is_typed_and_users_after() {
    let all = [row("8F1C", "ops@a.example"), row("91BE", "lab@a.example"), row("A000", "ops@b.example")];
    assert_eq!(values("", &all), ["8F1C", "91BE", "A000"]);
    assert_eq!(values("8", &all), ["8F1C"]);
    assert_eq!(values("OPS", &all), ["ops@a.example", "ops@b.example"]);
    assert_eq!(values("zzz", &all), [""; 0]);
    const GUID: &str = "8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11";
    assert_eq!(
        values("8f1c", &[row(GUID, "")]),
        [GUID],
        "the letters of a GUID count the same in either case"
    );
    let twins = [row("8F1C", "ops@a.example"), row("91BE", "ops@a.example")];
    assert_eq!(values("ops", &twins), [""; 0], "a user of two customers names none");
}

#[test]
fn too_many_candidates_become_fewer_with_the_same_beginning() {
    let all: Vec<_> = (0..5000).map(|at| row(&format!("id{at:04}"), "")).collect();
    let values = values("id", &all);
    assert_eq!(values.len(), MAX_CANDIDATES);
    assert_eq!((values.first().unwrap().as_str(), values.last().unwrap().as_str()), ("id0000", "id4999"));
}

/// What a table says must not become a command when the user presses Enter.
#[test]
fn nothing_of_a_candidate_is_heeded_by_the_shell() {
    let bash = |value: &str| written(&CompletionCandidate::new(value), Shell::Bash, 0, None);
    assert_eq!(bash("ops@a.example").as_deref(), Some("ops@a.example"));
    assert_eq!(
        bash("a $(reboot); `x` & 'y'").as_deref(),
        Some("a\\ \\$\\(reboot\\)\\;\\ \\`x\\`\\ \\&\\ \\'y\\'")
    );
    assert_eq!(bash("株式会社").as_deref(), Some("株式会社"));
    let quoted = |value: &str, quote| written(&CompletionCandidate::new(value), Shell::Bash, 0, Some(quote));
    assert_eq!(quoted("a $(reboot) \"b\"", '"').as_deref(), Some("a \\$(reboot) \\\"b\\\""));
    assert_eq!(quoted("a $(reboot) \"b\"", '\'').as_deref(), Some("a $(reboot) \"b\""));
    assert_eq!(quoted("it's", '\''), None);
    assert_eq!(quoted("a!b", '"'), None);
    assert_eq!(bash("a\nb"), None);
    assert_eq!(bash("a\u{1b}b"), None);
    assert_eq!(bash(":files"), None);
    assert_eq!(bash(""), None);
    let described = CompletionCandidate::new("8F1C").help(Some("ops, valid\nmore".into()));
    assert_eq!(written(&described, Shell::Zsh, 0, None).as_deref(), Some("8F1C\tops, valid"));
}

#[test]
fn the_line_names_the_socket() {
    let socket = |words: &[&str]| {
        Line { words: words.iter().map(OsString::from).collect(), kept: 0, quote: None }.socket()
    };
    assert_eq!(socket(&["tbctl", "--socket", "/a", "show", ""]), PathBuf::from("/a"));
    assert_eq!(socket(&["tbctl", "show", "--socket=/b", ""]), PathBuf::from("/b"));
    let home = std::env::home_dir().unwrap();
    assert_eq!(socket(&["tbctl", "--socket", "~/c", "show", ""]), home.join("c"));
}
