//! The words for instances that are not found and for logins that are rejected. Pure.

/// The reason why an instance is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstanceLookupError {
    /// There was no answer: the service does not run, a firewall is in between, or the instance does not exist. The service never
    /// answers about unknown instances.
    NoAnswer,
    /// The host reports that the port is closed.
    NoBrowser,
    /// Every answer was invalid or about another instance.
    ForeignAnswer,
    /// The instance has no TCP port.
    NoTcp,
}

impl InstanceLookupError {
    /// Says why.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::NoAnswer => "the SQL Server Browser on that host (UDP port 1434) does not answer about it",
            Self::NoBrowser => "no SQL Server Browser runs on that host (UDP port 1434)",
            Self::ForeignAnswer => "the answer from UDP port 1434 of that host is not about this instance",
            Self::NoTcp => "the SQL Server Browser reports that the instance has no TCP port",
        }
    }

    /// Says what to do about it.
    pub(super) fn remedy(self, host: &str, instance: &str) -> String {
        let or = format!("or write the instance's port instead of its name: store.server = \"{host},PORT\".");
        match self {
            Self::NoAnswer => format!(
                "It is tried again by itself. Check that there is an instance {instance}, that the service SQL Server Browser runs and that UDP port 1434 is open, {or}"
            ),
            Self::NoBrowser => {
                format!("It is tried again by itself. Start the service SQL Server Browser, {or}")
            }
            Self::ForeignAnswer => {
                format!("It is tried again by itself. Check the name of the instance, {or}")
            }
            Self::NoTcp => format!(
                "Enable TCP/IP for {instance} in SQL Server Configuration Manager and restart the instance; it is tried again by itself."
            ),
        }
    }
}

/// Explains a rejected login by the error's number in sys.messages.
pub(super) fn describe_login_error(number: u32) -> &'static str {
    match number {
        18470 => "the login is disabled",
        18486 => "the login is locked out",
        18487 => "the password has expired",
        18488 => "the password must be changed",
        18452 => "it is not a login that this server trusts",
        18461 => "the server is in single-user mode",
        _ => "the user or the password is wrong, or the login is disabled",
    }
}
