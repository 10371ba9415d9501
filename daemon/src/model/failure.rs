//! The failures of a renewal: a closed list. Each is permanent or transient, and has a sentence for the operator and a
//! remedy.

use std::time::Duration;

use strum::{EnumIter, EnumString, IntoStaticStr};

use super::{BadUrl, NotAToken};

/// Why a renewal failed. `Display` is the sentence for the operator; it quotes a server only where a variant says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each error explains its fields")]
pub enum Failure {
    /// Wrong password or unknown user, counted by ThingsBoard.
    #[error("ThingsBoard says \"Invalid username or password\"")]
    CredentialsRejected,
    /// ThingsBoard's message for a login that it does not check, because it sees no user name or password.
    #[error("ThingsBoard says \"Authentication failed\"")]
    AuthenticationFailed,
    /// The user is disabled, or was never activated; checked before the password.
    #[error("ThingsBoard says that the user's account is not active: disabled, or never activated")]
    AccountDisabled,
    /// ThingsBoard disabled the user after too many wrong passwords.
    #[error("ThingsBoard has locked the user's account after too many wrong passwords")]
    AccountLocked,
    /// The password has expired.
    #[error("ThingsBoard says that the password has expired")]
    PasswordExpired,
    /// The user must change the password before the login.
    #[error("ThingsBoard says that the password violates its policy")]
    PasswordViolatesPolicy,
    /// The login needs a second factor.
    #[error("ThingsBoard asks for a second factor, which a daemon does not have")]
    SecondFactorRequired,
    /// Not sent: ThingsBoard has rejected these credentials before, perhaps for another row.
    #[error("ThingsBoard has rejected this user name and password before; they are not sent again")]
    RejectedBefore { kind: FailureKind },
    /// Not sent: ThingsBoard has rejected credentials of this user before, perhaps these.
    #[error(
        "it is unknown whether ThingsBoard has rejected this password before, because the key in tbtokend_key was replaced; to send it once: tbctl refresh --force ID"
    )]
    RejectionUnknown { kind: FailureKind },
    /// Not sent: the account's budget of possibly wrong passwords is used up.
    #[error("{}, and one more could lock the account", may_be_counted(*charges))]
    AttemptsExhausted { charges: u8 },
    /// HTTP 429, with `Retry-After`, if a proxy sent one.
    #[error("ThingsBoard limits the rate of requests (HTTP 429)")]
    RateLimited { retry_after: Option<Duration> },
    /// HTTP 5xx, with `Retry-After`, which proxies send with a 503.
    #[error("the server answered with an internal error (HTTP {status})")]
    ServerError { status: u16, retry_after: Option<Duration> },
    /// No connection. Nothing was sent. What the operating system or TLS said is printable and short.
    #[error("the server cannot be reached: {why}")]
    Unreachable { why: String },
    /// The connection broke after the request was sent, or began to be sent. The cause is printable and short.
    #[error("the connection broke before an answer came: {why}")]
    Interrupted { why: String },
    /// No answer in time.
    #[error("the server did not answer within {} s", after.as_secs_f32())]
    Timeout { after: Duration },
    /// An answer that is not one to a login.
    #[error("{0}")]
    UnexpectedResponse(UnexpectedAnswer),
    /// The row's URL cannot be used.
    #[error("{0}")]
    BadUrl(BadUrl),
    /// `http` although `thingsboard.require_https` is set.
    #[error("tb_url is http, and thingsboard.require_https is on")]
    InsecureUrl,
    /// The token does not fit into its column.
    #[error("the token has {length} characters, but the column tbtoken holds {capacity}")]
    TokenTooLong { length: usize, capacity: usize },
    /// The token could not be written; it is kept and saved later.
    #[error("the new token could not be saved: {why}")]
    Database { why: String },
}

/// An answer that is not one of ThingsBoard to a login.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of each error explains its fields")]
pub enum UnexpectedAnswer {
    /// A 3xx to another server. The daemon never sends credentials there. The location is scheme, host and port, and the
    /// row's path prefix if it is kept: printable and short.
    #[error("the server redirects to {location}: put that URL into tb_url")]
    Redirect { location: String },
    /// A 3xx to another page of the same server, or without a target.
    #[error(
        "the server redirects to another of its pages: it is under maintenance, or a portal in front of it requires a login"
    )]
    OwnRedirect,
    /// A 401 that is not from ThingsBoard.
    #[error(
        "the server answered HTTP 401, but not as ThingsBoard does: a proxy in front of it requires its own login"
    )]
    ProxyLogin,
    /// A 407.
    #[error(
        "the proxy of thingsboard.proxy requires a login (HTTP 407): write http://USER:PASSWORD@HOST:PORT"
    )]
    ProxyAuthentication,
    /// A page that demands TLS.
    #[error("the server speaks TLS on this port: write https:// into tb_url")]
    Tls,
    /// Bytes that are not HTTP.
    #[error("the server does not speak HTTP on this port: if it is for https, write https:// into tb_url")]
    NotHttp,
    /// Headers beyond the limits.
    #[error(
        "the head of the server's answer is longer than 400 KiB or has more than 100 headers: check the proxy before it"
    )]
    LongHead,
    /// A compressed body.
    #[error(
        "the server's answer is compressed without a request for it: turn that off for /api/auth/ in the proxy before it"
    )]
    Encoded,
    /// A status that a login does not have.
    #[error("the server answered HTTP {status}, which is not an answer to a login")]
    Status { status: u16 },
    /// A 200 that is not ThingsBoard's JSON.
    #[error("the server answered with something that is not ThingsBoard's JSON (a login page, a proxy?)")]
    NotJson,
    /// JSON without a token.
    #[error("the server's answer holds no token")]
    NoToken,
    /// A token that cannot be used.
    #[error("the server's token cannot be used: {0}")]
    NotAToken(NotAToken),
    /// A body beyond the limit.
    #[error("the server's answer is longer than 64 KiB")]
    TooLong,
}

/// What follows a failure.
#[derive(PartialEq, Eq)]
enum Consequence {
    /// Another attempt.
    Transient,
    /// Nothing, because another attempt without a change is useless or dangerous.
    Parked,
    /// The customer is parked too, but ThingsBoard counts no failure, so that the password is tried once a day.
    Daily,
}

/// Declares the kinds of failures, each with its consequence and its remedy: what to do, and where.
macro_rules! failure_kinds {
    ($($kind:ident, $consequence:ident, $remedy:literal;)*) => {
        /// The kind of a failure, for programs and for the records.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumString, IntoStaticStr)]
        #[strum(serialize_all = "snake_case")]
        #[allow(missing_docs, reason = "each is explained at the variant of Failure of that name")]
        pub enum FailureKind {
            $($kind,)*
        }

        impl FailureKind {
            fn consequence(self) -> Consequence {
                match self { $(Self::$kind => Consequence::$consequence,)* }
            }

            /// Returns what to do, and where.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$kind => $remedy,)* }
            }
        }
    };
}

failure_kinds! {
    CredentialsRejected, Parked, "Trying again could lock the account. Correct tb_username or tb_password in the customer's row; the change is picked up by itself.";
    AttemptsExhausted, Parked, "Check tb_username and tb_password of each row with this user on ThingsBoard's login page, and correct the rows. Then send one more password: tbctl refresh --force ID. Refresh tokens of the user are still used.";
    AccountDisabled, Daily, "In ThingsBoard, open the details page of the user (Customers, Manage customer users; for a tenant's administrator: Tenants, Manage tenant admins). Press Enable User Account, or Display activation link if the user was never activated. It is tried once a day, or at once with tbctl refresh ID. If tb_username is wrong, correct it in the customer's row.";
    AccountLocked, Parked, "First correct tb_password in the customer's row. Then, in ThingsBoard, an administrator must press Enable User Account on the details page of the user (Customers, Manage customer users; for a tenant's administrator: Tenants, Manage tenant admins). After that: tbctl refresh --force ID.";
    PasswordExpired, Daily, "Log in to ThingsBoard's login page as this user, and set the new password that it asks for. Then write it to tb_password in the customer's row; the change is picked up by itself.";
    PasswordViolatesPolicy, Daily, "Press Forgot your password? on ThingsBoard's login page: it sends a link to the user's e-mail address. Set a password that the policy accepts (a system administrator sees it under Security, General, Password policy), then write it to tb_password in the customer's row; the change is picked up by itself.";
    SecondFactorRequired, Daily, "Write a user without two-factor authentication to tb_username and tb_password in the customer's row. Or turn it off for this user in ThingsBoard (as the user: Account, Security; for all, as a system administrator: Security, Two-factor authentication). It is tried once a day, or at once with tbctl refresh ID.";
    RateLimited, Transient, "It is tried again by itself, more slowly. If this stays, raise the limit of the proxy before ThingsBoard for /api/auth/; the limits in ThingsBoard (Tenant profiles, the tenant's profile, Rate limits) do not count logins.";
    ServerError, Transient, "It is tried again by itself. If this stays, see the log of ThingsBoard (/var/log/thingsboard) and of the proxy before it.";
    Unreachable, Transient, "It is tried again by itself. If the message names a setting of tbtokend, correct that; otherwise check tb_url in the customer's row, the server, its DNS name, its certificate and the firewall.";
    Timeout, Transient, "It is tried again by itself. Check whether the ThingsBoard server is overloaded, a firewall drops the connection, or tb_url in the customer's row names the wrong port; a slow server may need a longer thingsboard.request_timeout in tbtokend's configuration.";
    UnexpectedResponse, Transient, "It is tried again by itself. If the message says what to change, change that; otherwise check tb_url in the customer's row: it must be the address of ThingsBoard itself, not of a login page or a proxy.";
    BadUrl, Parked, "Correct tb_url in the customer's row, for example https://tb.example.com; the change is picked up by itself.";
    InsecureUrl, Parked, "Change tb_url in the customer's row to https; the change is picked up by itself. Or set thingsboard.require_https = false in tbtokend's configuration.";
    TokenTooLong, Parked, "Make the column tbtoken wider (varchar(max)), then: tbctl refresh ID.";
    Database, Transient, "The token is kept in memory and saved as soon as the database accepts it; no new login is needed. If this stays, let the database user of tbtokend update the columns tbtoken and tbtokenexpiry, and look for a constraint or a trigger.";
}

/// Says how many possibly wrong passwords were sent to an account.
pub fn may_be_counted(charges: u8) -> String {
    match charges {
        1 => "a password that ThingsBoard may have counted as wrong was sent to this account".to_owned(),
        charges => {
            format!(
                "{charges} passwords that ThingsBoard may have counted as wrong were sent to this account"
            )
        }
    }
}

impl Failure {
    /// Returns its kind.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::CredentialsRejected | Self::AuthenticationFailed => FailureKind::CredentialsRejected,
            Self::AttemptsExhausted { .. } => FailureKind::AttemptsExhausted,
            Self::AccountDisabled => FailureKind::AccountDisabled,
            Self::AccountLocked => FailureKind::AccountLocked,
            Self::PasswordExpired => FailureKind::PasswordExpired,
            Self::PasswordViolatesPolicy => FailureKind::PasswordViolatesPolicy,
            Self::SecondFactorRequired => FailureKind::SecondFactorRequired,
            Self::RejectedBefore { kind } | Self::RejectionUnknown { kind } => *kind,
            Self::RateLimited { .. } => FailureKind::RateLimited,
            Self::ServerError { .. } => FailureKind::ServerError,
            Self::Unreachable { .. } | Self::Interrupted { .. } => FailureKind::Unreachable,
            Self::Timeout { .. } => FailureKind::Timeout,
            Self::UnexpectedResponse(_) => FailureKind::UnexpectedResponse,
            Self::BadUrl(_) => FailureKind::BadUrl,
            Self::InsecureUrl => FailureKind::InsecureUrl,
            Self::TokenTooLong { .. } => FailureKind::TokenTooLong,
            Self::Database { .. } => FailureKind::Database,
        }
    }

    /// Returns the server's `Retry-After`, if it sent one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::ServerError { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether another attempt without a change is useless or dangerous, so that the customer is parked.
    pub fn is_permanent(&self) -> bool {
        self.kind().is_permanent()
    }
}

impl FailureKind {
    /// Whether another attempt without a change is useless or dangerous, so that the customer is parked.
    pub fn is_permanent(self) -> bool {
        self.consequence() != Consequence::Transient
    }

    /// Whether it parks the customer but ThingsBoard counts no failure, so that the password is tried once a day.
    pub fn is_tried_daily(self) -> bool {
        self.consequence() == Consequence::Daily
    }

    /// Whether the ledger decides when the password may be sent again.
    pub fn is_the_ledgers(self) -> bool {
        matches!(self, Self::CredentialsRejected | Self::AccountLocked | Self::AttemptsExhausted)
    }

    /// Whether ThingsBoard has rejected the credentials.
    pub fn is_rejection(self) -> bool {
        matches!(self, Self::CredentialsRejected | Self::AccountLocked)
    }

    /// Returns the name in the records, the log and the protocol.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Returns the kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        name.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for kind in FailureKind::iter() {
            assert_eq!(FailureKind::from_name(kind.as_str()), Some(kind));
        }
        assert_eq!(FailureKind::from_name("nonsense"), None);
    }

    /// Each remedy names the column or the page of ThingsBoard to change, and what follows.
    #[test]
    fn a_remedy_names_the_place_and_what_follows() {
        for kind in FailureKind::iter() {
            let remedy = kind.remedy();
            let names_a_place = ["tb_url", "tb_username", "tb_password", "tbtoken", "ThingsBoard (", "page"];
            assert!(names_a_place.iter().any(|place| remedy.contains(place)), "{kind:?}: {remedy}");
            let follows = ["by itself", "as soon as", "tb_url", "tbctl refresh"];
            assert!(follows.iter().any(|words| remedy.contains(words)), "{kind:?}: {remedy}");
            assert!(remedy.ends_with('.') && remedy.is_ascii(), "{remedy}");
        }
        let inactive = FailureKind::AccountDisabled.remedy();
        assert!(inactive.contains("Enable User Account") && inactive.contains("Display activation link"));
    }
}
