//! Which customer is meant by a name on the command line: an id, the beginning of one, or a ThingsBoard user. Pure.

use strsim::osa_distance;
use tbtoken_proto::Customer;

/// A beginning of an id that is shorter than this is no name: it would fit too many, today or tomorrow.
pub(crate) const SHORTEST_BEGINNING: usize = 4;

/// So many customers are proposed when a name fits nobody.
const MAX_NEAR: usize = 3;

/// Who is meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// This one.
    One(&'a Customer),
    /// One of these, which is not enough.
    Many(Vec<&'a Customer>),
    /// Nobody. These have a similar name, the most similar one first.
    Nobody(Vec<&'a Customer>),
}

/// Finds the customer that is called `name`. What fits exactly goes before what fits partly, and ids go before users.
pub(crate) fn find<'a>(name: &str, customers: &'a [Customer]) -> Found<'a> {
    let all = |fits: &dyn Fn(&Customer) -> bool| customers.iter().filter(|row| fits(row)).collect::<Vec<_>>();
    // As a narrow table shows it.
    let beginning = name.trim_end_matches('…');
    let long_enough = beginning.chars().count() >= SHORTEST_BEGINNING;
    let candidates = [
        all(&|row| row.customer_id == name),
        all(&|row| !name.is_empty() && row.tb_username.eq_ignore_ascii_case(name)),
        if long_enough { all(&|row| begins_with(&row.customer_id, beginning)) } else { Vec::new() },
    ];
    match candidates.into_iter().find(|candidates| !candidates.is_empty()) {
        Some(candidates) => match candidates.as_slice() {
            [only] => Found::One(only),
            _ => Found::Many(candidates),
        },
        None => Found::Nobody(near(name, customers)),
    }
}

/// Whether `id` begins with `beginning`; the letters of a GUID are the same in either case.
pub(crate) fn begins_with(id: &str, beginning: &str) -> bool {
    match id.get(..beginning.len()) {
        Some(head) if is_guid(id) => head.eq_ignore_ascii_case(beginning),
        Some(head) => head == beginning,
        None => false,
    }
}

/// `8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11`: 8-4-4-4-12 hexadecimal digits.
fn is_guid(id: &str) -> bool {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match DASHES.contains(&at) {
            true => byte == b'-',
            false => byte.is_ascii_hexdigit(),
        })
}

/// The customers whose id or user differs from `name` by a typing mistake or two.
fn near<'a>(name: &str, customers: &'a [Customer]) -> Vec<&'a Customer> {
    let name = name.to_lowercase();
    let length = name.chars().count();
    if length < SHORTEST_BEGINNING {
        return Vec::new();
    }
    let tolerated = (length / 4).clamp(1, 3);
    let mut near: Vec<(usize, &Customer)> = customers
        .iter()
        .filter_map(|row| {
            let id = row.customer_id.to_lowercase();
            let user = row.tb_username.to_lowercase();
            // What was typed may also be the beginning of an id or a user, or a user without its domain.
            let beginning = |of: &str| of.chars().take(length).collect::<String>();
            let local = user.split('@').next().unwrap_or_default();
            let distance = [id.as_str(), &beginning(&id), &user, &beginning(&user), local]
                .into_iter()
                .filter(|known| known.chars().count().abs_diff(length) <= tolerated)
                .map(|known| osa_distance(&name, known))
                .min()?;
            (distance <= tolerated).then_some((distance, row))
        })
        .collect();
    near.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.customer_id.cmp(&y.customer_id)));
    // Whoever is farther away than the nearest was not meant.
    let nearest = near.first().map(|(distance, _)| *distance);
    near.into_iter().take_while(|(it, _)| Some(*it) == nearest).map(|(_, row)| row).take(MAX_NEAR).collect()
}

#[cfg(test)]
mod tests {
    use tbtoken_proto::{Phase, TokenStatus};

    use super::*;

    fn customers() -> Vec<Customer> {
        [
            ("8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11", "ops@acme-north.example"),
            ("8F1C77B0-33D1-4E02-9C77-0E5A3F6B2D12", "ops@acme-lab.example"),
            ("91BE77C0-33D1-4E02-9C77-0E5A3F6B2D13", "Shared@acme.example"),
            ("A0000000-33D1-4E02-9C77-0E5A3F6B2D14", "shared@acme.example"),
            ("harbor", "91BE77C0"),
            ("harbor-north", "port@harbor.example"),
            ("17", "short@acme.example"),
        ]
        .map(|(id, user)| Customer {
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
        })
        .to_vec()
    }

    /// The user of who is found; `?` before several, `~` before the similar ones.
    fn found(name: &str) -> String {
        let customers = customers();
        let users = |rows: Vec<&Customer>| {
            rows.into_iter().map(|row| row.customer_id[..2].to_owned()).collect::<Vec<_>>().join(" ")
        };
        match find(name, &customers) {
            Found::One(row) => row.tb_username.clone(),
            Found::Many(rows) => format!("?{}", users(rows)),
            Found::Nobody(rows) => format!("~{}", users(rows)),
        }
    }

    #[test]
    fn a_name_is_an_id_its_beginning_or_a_user() {
        assert_eq!(found("8F1C02AA-33D1-4E02-9C77-0E5A3F6B2D11"), "ops@acme-north.example");
        assert_eq!(found("8f1c02aa-33d1-4e02-9c77-0e5a3f6b2d11"), "ops@acme-north.example");
        assert_eq!(found("8f1c0"), "ops@acme-north.example");
        assert_eq!(found("8F1C0…"), "ops@acme-north.example", "copied from a narrow table");
        assert_eq!(found("OPS@acme-lab.example"), "ops@acme-lab.example");
        assert_eq!(found("17"), "short@acme.example");
    }

    #[test]
    fn several_are_not_one() {
        assert_eq!(found("8f1c"), "?8F 8F");
        assert_eq!(found("shared@acme.example"), "?91 A0");
        assert_eq!(found("harb"), "?ha ha");
    }

    #[test]
    fn what_fits_exactly_goes_first() {
        assert_eq!(found("harbor"), "91BE77C0", "although harbor-north begins so, too");
        assert_eq!(found("91be77c0"), "91BE77C0", "a user goes before the beginning of an id");
        assert_eq!(found("harbor-"), "port@harbor.example");
    }

    #[test]
    fn the_case_matters_where_ids_are_not_guids() {
        assert_eq!(found("HARBOR-N"), "~ha", "but it is a near miss");
    }

    #[test]
    fn short_beginnings_fit_nobody() {
        assert_eq!(found("8f1"), "~");
        assert_eq!(found(""), "~");
        assert_eq!(found("1"), "~");
    }

    #[test]
    fn a_typing_mistake_is_recognized() {
        assert_eq!(found("8f1d02"), "~8F", "in the beginning of an id");
        assert_eq!(found("8F1C02AB-33D1-4E02-9C77-0E5A3F6B2D11"), "~8F", "in an id");
        assert_eq!(found("ops@acme-nroth.example"), "~8F", "in a user");
        assert_eq!(found("ops@acme-nort"), "~8F", "a user that goes on");
        assert_eq!(found("shrot"), "~17", "in a user without its domain");
        assert_eq!(found("entirely-else"), "~");
        assert_eq!((&*found("xarb"), &*found("xorb")), ("~ha ha", "~"), "one of four letters, not two");
    }

    #[test]
    fn wide_letters_do_not_split() {
        assert_eq!(found("日本語テ"), "~");
        assert!(!begins_with("日本", "日\u{672c}x"));
        assert!(begins_with("日本", "日"));
    }
}
