//! The customer that a name on the command line means: an id, its beginning, or a ThingsBoard user. Pure.

use strsim::osa_distance;
use tbtoken_proto::Customer;

use crate::error::{Error, MAX_LISTED, id_and_user};

/// The shortest beginning of an id that is a name: a shorter one fits too many customers, today or tomorrow.
pub(crate) const SHORTEST_PREFIX: usize = 4;

/// The most customers that are proposed for a name that fits none.
const MAX_NEAR: usize = 3;

/// Finds the customer that a name means. An exact match goes before a partial one, and ids go before users.
///
/// # Errors
/// [`Error::NoCustomer`] or [`Error::Ambiguous`].
pub(crate) fn find<'a>(name: &str, customers: &'a [Customer]) -> Result<&'a Customer, Error> {
    let all = |fits: &dyn Fn(&Customer) -> bool| customers.iter().filter(|row| fits(row)).collect::<Vec<_>>();
    // A narrow table shows ids with an ellipsis.
    let prefix = name.trim_end_matches('…');
    let is_long_enough = prefix.chars().count() >= SHORTEST_PREFIX;
    let candidates = [
        all(&|row| row.customer_id == name),
        all(&|row| !name.is_empty() && row.tb_username.eq_ignore_ascii_case(name)),
        all(&|row| is_long_enough && begins_with(&row.customer_id, prefix)),
    ];
    let candidates = candidates.into_iter().find(|candidates| !candidates.is_empty()).unwrap_or_default();
    let (name, listed) =
        (name.to_owned(), |rows: &[&Customer]| rows.iter().map(|row| id_and_user(row)).collect());
    match candidates.as_slice() {
        [only] => Ok(only),
        [] => Err(Error::NoCustomer { near: listed(&near(&name, customers)), name }),
        several => {
            let shown = &several[..several.len().min(MAX_LISTED)];
            Err(Error::Ambiguous { name, count: several.len(), candidates: listed(shown) })
        }
    }
}

/// Whether an id begins with `prefix`. The case of a GUID does not matter.
pub(crate) fn begins_with(id: &str, prefix: &str) -> bool {
    match id.get(..prefix.len()) {
        Some(head) if is_guid(id) => head.eq_ignore_ascii_case(prefix),
        Some(head) => head == prefix,
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

/// Returns the customers whose id or user differs from `name` by a typing mistake or two, the nearest only.
fn near<'a>(name: &str, customers: &'a [Customer]) -> Vec<&'a Customer> {
    let name = name.to_lowercase();
    let length = name.chars().count();
    if length < SHORTEST_PREFIX {
        return Vec::new();
    }
    let tolerated = (length / 4).clamp(1, 3);
    let distance = |row: &Customer| {
        let id = row.customer_id.to_lowercase();
        let user = row.tb_username.to_lowercase();
        // The name may also be the beginning of an id or a user, or a user without its domain.
        let prefix = |of: &str| of.chars().take(length).collect::<String>();
        let local = user.split('@').next().unwrap_or_default();
        [id.as_str(), &prefix(&id), &user, &prefix(&user), local]
            .into_iter()
            .filter(|known| known.chars().count().abs_diff(length) <= tolerated)
            .map(|known| osa_distance(&name, known))
            .min()
            .filter(|distance| *distance <= tolerated)
    };
    let mut near: Vec<_> = customers.iter().filter_map(|row| Some((distance(row)?, row))).collect();
    near.sort_by_key(|(distance, row)| (*distance, &row.customer_id));
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

    /// The user of the customer that is found; `?` before several ids, `~` before similar ones.
    fn found(name: &str) -> String {
        let ids = |rows: Vec<String>| rows.iter().map(|row| &row[..2]).collect::<Vec<_>>().join(" ");
        match find(name, &customers()) {
            Ok(row) => row.tb_username.clone(),
            Err(Error::Ambiguous { candidates, .. }) => format!("?{}", ids(candidates)),
            Err(Error::NoCustomer { near, .. }) => format!("~{}", ids(near)),
            Err(other) => panic!("{other}"),
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
    fn short_beginnings_fit_no_customer() {
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
