//! Customers that share one account, within a pass: one goes first with the password, and what it is told holds for
//! all. That is what keeps a wrong password in many rows from locking the account. Pure.

use crate::model::{CustomerId, Failure};

/// One account: all planned customers with the same URL, user and password.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account(Standing);

#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Standing {
    /// Nobody has tried the password in this pass.
    #[default]
    Untried,
    /// One has gone first.
    Asking,
    /// The password is right.
    Proven,
    /// The server has refused it for good; what the others are told.
    Refused(Failure),
    /// The one who went first has learned nothing about the password; what the others are told.
    Unclear(Failure),
}

/// Whether a customer may send the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Permission {
    /// Yes.
    Go,
    /// Not before the one who has gone first is back.
    Wait,
    /// No: it fails with this, untried.
    Never(Failure),
    /// Not in this pass, because of this.
    NotNow(Failure),
}

impl Account {
    /// An account whose password was refused before, for one whose row says the same.
    pub fn refused(failure: Failure) -> Self {
        Self(Standing::Refused(failure))
    }

    /// An account whose password was sent without a clear answer, for one whose row says the same; that one waits.
    pub fn in_doubt(failure: Failure) -> Self {
        Self(Standing::Unclear(failure))
    }

    /// Whether it is not known what the server made of the password.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self.0, Standing::Unclear(_))
    }

    /// Whether the password may be sent now.
    pub fn may_ask(&self) -> Permission {
        match &self.0 {
            Standing::Untried | Standing::Proven => Permission::Go,
            Standing::Asking => Permission::Wait,
            Standing::Refused(failure) => Permission::Never(failure.clone()),
            Standing::Unclear(failure) => Permission::NotNow(failure.clone()),
        }
    }

    /// The password is being sent.
    pub fn asking(&mut self) {
        if self.0 == Standing::Untried {
            self.0 = Standing::Asking;
        }
    }

    /// What came of sending the password for `id`.
    pub fn answered(&mut self, id: &CustomerId, failure: Option<&Failure>) {
        self.0 = match failure {
            None => Standing::Proven,
            Some(failure) if failure.is_permanent() => Standing::Refused(failure.for_others(id)),
            // Proven is proven: a server in trouble says nothing about the password.
            Some(_) if self.0 == Standing::Proven => return,
            Some(failure) => Standing::Unclear(failure.in_doubt_for_others(id)),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn id() -> CustomerId {
        CustomerId::new("first")
    }

    #[test]
    fn one_goes_first_and_its_outcome_holds_for_all() {
        let mut account = Account::default();
        assert_eq!(account.may_ask(), Permission::Go);
        account.asking();
        assert_eq!(account.may_ask(), Permission::Wait);
        account.answered(&id(), Some(&Failure::CredentialsRejected));
        let Permission::Never(failure) = account.may_ask() else { panic!("{account:?}") };
        assert_eq!(failure.kind(), crate::model::FailureKind::CredentialsRejected);
        assert!(failure.is_permanent());
        assert_eq!(
            failure.to_string(),
            "ThingsBoard says \"Invalid username or password\" (tried once, for customer first, whose row had the same URL, user and password)"
        );
    }

    #[test]
    fn a_right_password_lets_the_others_go_until_it_is_refused() {
        let mut account = Account::default();
        account.asking();
        account.answered(&id(), None);
        assert_eq!(account.may_ask(), Permission::Go);
        account.asking();
        assert_eq!(account.may_ask(), Permission::Go, "many at a time");
        account.answered(&id(), Some(&Failure::ServerError { status: 503 }));
        assert_eq!(account.may_ask(), Permission::Go);
        account.answered(&id(), Some(&Failure::AccountDisabled));
        assert!(matches!(account.may_ask(), Permission::Never(_)));
    }

    #[test]
    fn an_unclear_outcome_keeps_the_others_from_trying_in_this_pass() {
        let mut account = Account::default();
        account.asking();
        let timeout = Failure::Timeout { after: Duration::from_secs(10) };
        account.answered(&id(), Some(&timeout));
        let Permission::NotNow(failure) = account.may_ask() else { panic!("{account:?}") };
        assert_eq!(failure.kind(), crate::model::FailureKind::Timeout);
        assert_eq!(
            failure.for_the_untried(),
            "not asked yet: the server did not answer within 10 s (for customer first, whose row has the same URL, user and password)"
        );
    }

    proptest! {
        #[test]
        fn a_password_that_is_wrong_is_sent_once_whatever_the_order(steps in vec(any::<bool>(), 1..100)) {
            let mut account = Account::default();
            let (mut in_flight, mut sent) = (0_u32, 0_u32);
            for asks in steps {
                if asks && account.may_ask() == Permission::Go {
                    account.asking();
                    in_flight += 1;
                    sent += 1;
                } else if in_flight > 0 {
                    in_flight -= 1;
                    account.answered(&id(), Some(&Failure::CredentialsRejected));
                }
                prop_assert!(in_flight <= 1);
            }
            prop_assert_eq!(sent.min(1), sent);
        }
    }
}
