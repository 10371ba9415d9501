//! The grounds of the cases, and the macros that make a test of each case on each ground.

/// The kind of store that a case runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ground {
    /// A SQLite file.
    Sqlite,
    /// The fake SQL Server.
    Fake,
    /// The real server of `TBTOKEN_TEST_MSSQL`.
    Real,
}

impl Ground {
    /// Whether it is a SQL Server, fake or real.
    pub(crate) fn is_mssql(self) -> bool {
        self != Self::Sqlite
    }
}

/// Makes three tests of each case. Without a real server the third one prints that it was skipped.
macro_rules! on_every_store {
    ($($case:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $case() { super::$case(crate::ground::Ground::Sqlite).await; })+
        }
        crate::ground::on_every_server! { $($case),+ }
    };
}

/// Does the same for cases of SQL Server alone.
macro_rules! on_every_server {
    ($($case:ident),+ $(,)?) => {
        mod fake {
            $(#[tokio::test] async fn $case() { super::$case(crate::ground::Ground::Fake).await; })+
        }
        mod real {
            $(#[tokio::test] async fn $case() {
                if crate::real::is_there(stringify!($case)) {
                    super::$case(crate::ground::Ground::Real).await;
                }
            })+
        }
    };
}

pub(crate) use {on_every_server, on_every_store};
