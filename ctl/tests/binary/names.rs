//! What a customer may be called, for every command that takes a name.

use tbtoken_proto::{Customer, ErrorCode, Refresh, Reply, Request, Rows, StatusQuery};

use crate::common::{Fake, Reaction, Told, answer, customers, refreshed, status};

const NORTH: &str = "8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11";
const SOUTH: &str = "8F1C77B0-33D1-4E02-9C77-0E5A3F6B2D12";

/// A daemon with two more customers.
fn fake() -> Fake {
    let extra = |id: &str, user: &str| Customer {
        customer_id: id.to_owned(),
        tb_username: user.to_owned(),
        ..customers().remove(0)
    };
    let all =
        [customers(), vec![extra(NORTH, "ops@north.example"), extra(SOUTH, "ops@south.example")]].concat();
    Fake::start(move |request| match request {
        Request::Status(StatusQuery { customers: Rows::Only(ids), .. }) => {
            let rows: Vec<_> = all.iter().filter(|row| ids.contains(&row.customer_id)).cloned().collect();
            if rows.len() == ids.len() {
                Reaction::Answer(status(rows))
            } else {
                Reaction::Refuse(ErrorCode::UnknownCustomer, "no such customer")
            }
        }
        Request::Status(_) => Reaction::Answer(status(all.clone())),
        Request::Refresh(Refresh { customers: Some(ids), .. }) => {
            if ids.iter().all(|id| all.iter().any(|row| row.customer_id == *id)) {
                Reaction::Answer(refreshed(vec![]))
            } else {
                Reaction::Refuse(ErrorCode::UnknownCustomer, "no such customer")
            }
        }
        other => answer(other),
    })
}

fn run(arguments: &[&str]) -> (Told, Vec<Request>) {
    fake().run(arguments)
}

#[test]
fn every_command_that_takes_a_customer_knows_all_its_names() {
    for name in [NORTH, &NORTH.to_lowercase(), "8f1c0", "OPS@north.example"] {
        for command in ["status", "show", "events", "refresh", "wait"] {
            let (told, asked) = run(&[command, name]);
            assert_eq!(told.exit, Some(0), "{command} {name}: {told:?}");
            if let Some(Request::Refresh(refresh)) = asked.last() {
                assert_eq!(refresh.customers.as_deref(), Some([NORTH.to_owned()].as_slice()));
            }
        }
        let (told, _) = run(&["--json", "status", name]);
        assert_eq!(told.json()["tokens"]["customers"][0]["customer_id"], NORTH);
        assert_eq!(told.json()["tokens"]["customers"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_customer_with_two_names_is_renewed_once_and_the_order_is_kept() {
    let (told, asked) = run(&["refresh", "ops@south.example", NORTH, "8f1c0", "OPS@south.example"]);
    assert_eq!(told.exit, Some(0), "{told:?}");
    let Some(Request::Refresh(refresh)) = asked.last() else { panic!("{asked:?}") };
    assert_eq!(refresh.customers, Some(vec![SOUTH.to_owned(), NORTH.to_owned()]));
}

#[test]
fn a_whole_id_is_a_small_question() {
    let (_, asked) = run(&["status", NORTH]);
    let customers = Rows::Only(vec![NORTH.to_owned()]);
    assert_eq!(asked, [Request::Status(StatusQuery { customers, since: None })]);
}

/// A row without a password is no customer, but its id is its own: it is not the beginning of another one.
#[test]
fn the_id_of_a_row_that_cannot_be_renewed_is_no_beginning_of_another_id() {
    let fake = || {
        let other = || vec![Customer { customer_id: "acme-test".to_owned(), ..customers().remove(0) }];
        let names_acme = |ids: &[String]| ids.iter().any(|id| id == "acme");
        Fake::start(move |request| match request {
            Request::Status(StatusQuery { customers: Rows::Only(ids), .. })
            | Request::Refresh(Refresh { customers: Some(ids), .. })
                if names_acme(ids) =>
            {
                Reaction::Refuse(
                    ErrorCode::IneligibleCustomer,
                    "acme is not renewed: its tb_password is blank",
                )
            }
            Request::Status(StatusQuery { customers: Rows::Only(ids), .. }) if ids != &["acme-test"] => {
                Reaction::Refuse(ErrorCode::UnknownCustomer, "no such customer")
            }
            Request::Status(_) => Reaction::Answer(status(other())),
            Request::Refresh(Refresh { customers: Some(ids), .. }) if ids != &["acme-test"] => {
                Reaction::Refuse(ErrorCode::UnknownCustomer, "no such customer")
            }
            other => answer(other),
        })
    };
    for command in ["status", "show", "events", "refresh", "wait"] {
        for names in [["acme"].as_slice(), &["acme-t", "acme"]] {
            let names = if command == "show" || command == "events" { &["acme"] } else { names };
            let (told, asked) = fake().run(&[&[command], names].concat());
            assert_eq!(told.exit, Some(5), "{command} {names:?}: {told:?}");
            assert_eq!(
                told.stderr,
                "error: acme is not renewed: its tb_password is blank\nhint: see which rows count with \
                 sudo tbtokend doctor\n"
            );
            let others = |request: &Request| matches!(request, Request::Refresh(it) if it.customers.as_ref().unwrap() != names);
            assert!(!asked.iter().any(others), "{asked:?}");
        }
    }
    let (told, _) = fake().run(&["status", "acme-t"]);
    assert_eq!(told.exit, Some(0), "a beginning is one where no row is called so: {told:?}");
}

/// The daemon polls before it says that there is no such customer, so it is asked before the name is looked for elsewhere.
#[test]
fn a_row_that_is_newer_than_the_last_poll_is_refreshed() {
    let fake = Fake::start(|request| match request {
        Request::Refresh(_) => Reaction::Answer(refreshed(vec![])),
        _ => Reaction::Refuse(ErrorCode::UnknownCustomer, "no such customer"),
    });
    let (told, asked) = fake.run(&["refresh", "acme"]);
    assert_eq!((told.exit, asked.len()), (Some(0), 1), "{told:?}");
}

#[test]
fn a_name_that_fits_several_lists_them() {
    for command in ["status", "show", "events", "refresh", "wait"] {
        let (told, asked) = run(&[command, "8f1c"]);
        assert_eq!(told.exit, Some(5), "{command}: {told:?}");
        assert_eq!(
            told.stderr,
            format!(
                "error: \"8f1c\" may be any of 2 customers: {NORTH} (ops@north.example), {SOUTH} \
                 (ops@south.example)\nhint: type more of the id, or all of it\n"
            )
        );
        let typed = Some(vec!["8f1c".to_owned()]);
        let guessed = |request: &Request| matches!(request, Request::Refresh(it) if it.customers != typed);
        assert!(!asked.iter().any(guessed), "{asked:?}");
    }
    let (told, _) = run(&["--json", "show", "8f1c"]);
    assert_eq!(told.json()["code"], "ambiguous_customer");
}

#[test]
fn a_near_miss_is_recognized() {
    for command in ["status", "show", "events", "refresh", "wait"] {
        let (told, _) = run(&[command, "ops@nroth.example"]);
        assert_eq!(told.exit, Some(5), "{command}: {told:?}");
        assert_eq!(
            told.stderr,
            format!(
                "error: there is no customer \"ops@nroth.example\" (a row without user, password or URL does not \
                 count)\nhint: did you mean {NORTH} (ops@north.example)?\n"
            )
        );
    }
    let (told, _) = run(&["show", "8f1"]);
    assert!(
        told.stderr.ends_with("needs 4 characters or more ; tbctl status lists the customers\n"),
        "{told:?}"
    );
    let (told, _) = run(&["--json", "show", "no-such-customer"]);
    assert_eq!((told.exit, &told.json()["code"]), (Some(5), &"unknown_customer".into()));
}

/// Right after the start the daemon knows no customer, which does not mean that there is none.
#[test]
fn a_daemon_that_has_not_read_its_table_says_so() {
    let fake = Fake::start(|request| match request {
        Request::Status(StatusQuery { customers: Rows::Only(_), .. }) => {
            Reaction::Refuse(ErrorCode::UnknownCustomer, "no such customer")
        }
        _ => {
            let Reply::Status(mut reply) = status(vec![]) else { unreachable!() };
            reply.tokens.as_of = None;
            reply.tokens.error = Some("the login failed. Check the password.".to_owned());
            Reaction::Answer(Reply::Status(reply))
        }
    });
    let (told, _) = fake.run(&["show", "8F1C02AA"]);
    assert_eq!(told.exit, Some(1));
    assert_eq!(
        told.stderr,
        "error: tbtokend knows no customer yet, because it has not read its table\n\
         hint: the login failed. Check the password.\n"
    );
}
