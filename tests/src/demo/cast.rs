//! The customers of the demo, and their servers.

use std::sync::Arc;
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta};

use crate::harness::Row;
use crate::thingsboard::{
    Account, Behaviour, PasswordPolicy, SecondFactor, Settings, ThingsBoard, User, jwt,
};
use crate::{canary, clock};

/// All customers and servers of the demo.
pub(super) struct Cast {
    pub(super) rows: Vec<Row>,
    /// The servers that the script changes.
    pub(super) limited: Arc<ThingsBoard>,
    pub(super) flaky: Arc<ThingsBoard>,
    pub(super) away: Arc<ThingsBoard>,
    /// The server of the customer that has a wrong password at times.
    pub(super) cloud: Arc<ThingsBoard>,
    pub(super) forgetful: Forgetful,
    /// All servers; they run as long as this exists.
    pub(super) servers: Vec<Arc<ThingsBoard>>,
}

/// The customer that changes its password in ThingsBoard and, a minute later, in the table.
#[derive(Debug, Clone)]
pub(super) struct Forgetful {
    pub(super) customer_id: String,
    pub(super) username: String,
    pub(super) password: String,
}

impl Cast {
    /// Makes the servers and the customers, with the faults that exist from the start. The script adds the others.
    pub(super) fn call() -> Self {
        let mut servers = Vec::new();
        let mut open = |prefix: &str, change: fn(&mut Settings)| {
            let mut settings = Settings { prefix: prefix.to_owned(), ..Settings::default() };
            settings.access_life = Duration::from_secs(45);
            change(&mut settings);
            let server = Arc::new(ThingsBoard::with(settings));
            servers.push(Arc::clone(&server));
            server
        };
        let north = open("/north", |_| ());
        let cloud = open("/cloud", |settings| settings.max_failed_logins = Some(3));
        let strict = open("/strict", |settings| {
            settings.password_policy =
                PasswordPolicy { force_reset: true, minimum_length: 64, ..PasswordPolicy::default() };
        });
        let skewed = open("/skewed", |settings| settings.skew = TimeDelta::hours(2));
        let (limited, flaky, away) =
            (open("/limited", |_| ()), open("/flaky", |_| ()), open("/away", |_| ()));
        let slow = open("/slow", |_| ());
        slow.set(Behaviour::Slow(Duration::from_millis(2_500)));
        let silent = open("/silent", |_| ());
        silent.set(Behaviour::Silent);
        let portal = open("/portal", |_| ());
        portal.set(Behaviour::LoginPage);
        let moved = open("/moved", |_| ());
        moved.set(Behaviour::Redirect { status: 308, location: "https://tb.acme-moved.example/".to_owned() });

        let healthy = |server: &ThingsBoard, name: &str, life: u64| {
            customer(&server.add(User::new(name).access_life(Duration::from_secs(life))))
        };
        let forgetful = cloud.add(User::new("billing@harbor-lights.example"));
        let rows = vec![
            healthy(&north, "ops@acme-north.example", 20),
            healthy(&north, "ops@acme-hq.example", 30),
            healthy(&north, "ops@acme-port.example", 45),
            healthy(&north, "facility@lakeside.example", 60),
            healthy(&cloud, "energy@old-mill.example", 40),
            healthy(&cloud, "iot@greenhouse-7.example", 7_200),
            healthy(&skewed, "ops@acme-tomorrow.example", 50),
            healthy(&slow, "scada@long-valley.example", 60),
            healthy(&limited, "ops@crowded-campus.example", 30),
            healthy(&limited, "lab@crowded-campus.example", 35),
            healthy(&flaky, "ops@shaky-grid.example", 25),
            healthy(&away, "pumps@island-water.example", 30),
            ended(customer(&forgetful).password(canary::password("last-years")), 3),
            ended(
                customer(&cloud.add(User::new("it@grand-hotel.example"))).password(canary::password("typo")),
                12,
            ),
            ended(
                customer(&cloud.add(User::new("ops@acme-lab.example").failed_logins(3)))
                    .password(canary::password("one-too-many")),
                47,
            ),
            ended(customer(&cloud.add(User::new("former@acme-south.example").disabled())), 90),
            customer(
                &cloud.add(User::new("security@town-hall.example").second_factor(SecondFactor::Enabled)),
            ),
            customer(&cloud.add(User::new("new@town-hall.example").second_factor(SecondFactor::Enforced))),
            ended(customer(&cloud.add(User::new("archive@museum.example").password_expired())), 600),
            customer(&strict.add(User::new("ops@strict-bank.example"))),
            ended(customer(&silent.add(User::new("ops@black-forest.example"))), 26),
            customer(&portal.add(User::new("wifi@airport.example"))),
            customer(&moved.add(User::new("ops@acme-moved.example"))),
            customer(&north.add(User::new("ops@typing-error.example"))).url("htp:/tb.typing-error.example"),
        ];
        let forgetful = Forgetful {
            customer_id: jwt::uuid(&forgetful.username),
            username: forgetful.username,
            password: forgetful.password,
        };
        Self { rows, limited, flaky, away, cloud, forgetful, servers }
    }
}

fn customer(account: &Account) -> Row {
    Row::new(jwt::uuid(&account.username), account)
}

/// Gives a customer a token that ended that many minutes ago.
fn ended(row: Row, minutes: i64) -> Row {
    let expiry = clock::now() - TimeDelta::minutes(minutes);
    row.token(format!("{}-ended", canary::TOKEN), expiry.to_rfc3339_opts(SecondsFormat::Secs, true))
}
