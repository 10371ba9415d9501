//! Tests of `host\instance`: an instance is found through SQL Server Browser, and each failure has its message.

use tbtoken_tests::mssql::{Browser, BrowserReply, Settings as Fake, SqlServer, browser_answer};
use tbtokend::store::Records;
use tbtokend::store::mssql::{Address, Settings};

use crate::clock::{StoppedClock, until_it_works};
use crate::place::{Place, line};
use crate::stores::{AnyStore, mssql, words};

/// Makes a browser, a server with two customers on the same address, and a store that knows only the instance's name.
async fn instance(name: &str) -> (Browser, Place, AnyStore) {
    let browser = Browser::start(BrowserReply::Nothing);
    let place = Place::on(SqlServer::with(Fake { address: browser.address(), ..Fake::default() })).await;
    place.insert(&[line(1), line(2)]).await;
    let server = format!("{}\\{name}", browser.address());
    let address = Address::parse(&server).unwrap();
    let store = mssql(Settings { server, address, ..place.settings() });
    (browser, place, store)
}

fn port(place: &Place) -> u16 {
    place.fake().address().port()
}

/// Waits until earlier datagrams have arrived: this one is sent after them and must arrive first.
async fn what_was_sent_has_come() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(b"x", socket.local_addr().unwrap()).await.unwrap();
    socket.recv(&mut [0; 1]).await.unwrap();
}

/// Returns the message for a silent browser, after two questions, in virtual time.
async fn after_two_silences(browser: &Browser, store: &AnyStore) -> String {
    let clock = StoppedClock::new();
    let before = browser.asked();
    let waiting = async {
        for question in 1..=2 {
            browser.until_answered(before + question).await;
            what_was_sent_has_come().await;
            clock.advance(2).await;
        }
    };
    let (result, ()) = tokio::join!(store.try_read(Records::All), waiting);
    words(&result.expect_err("its port is unknown"))
}

#[tokio::test]
async fn an_instance_is_found_by_its_name_and_again_where_it_has_moved() {
    let (browser, place, store) = instance("crm").await;
    browser.set(BrowserReply::Instance("CRM", Some(port(&place))));
    assert_eq!(store.read().await.customers.len(), 2);
    assert_eq!(store.read().await.customers.len(), 2);
    assert_eq!(browser.asked(), 1, "only a new connection asks");
    // By default, named instances take another port at each start.
    place.fake().kill_sessions();
    assert_eq!(until_it_works(async || store.try_read(Records::All).await).await.customers.len(), 2);
    assert_eq!(browser.asked(), 2);
}

/// Any datagram can arrive over UDP, in any order.
#[tokio::test]
async fn datagrams_that_are_no_answer_about_the_instance_are_ignored() {
    let (browser, place, store) = instance("CRM").await;
    let good = browser_answer("CRM", Some(port(&place)));
    let mut torn = good.clone();
    torn.truncate(good.len() - 4);
    browser.set(BrowserReply::Datagrams(vec![
        Vec::new(),
        vec![5],
        b"HTTP/1.1 400 Bad Request".to_vec(),
        vec![0xff; 2000],
        browser_answer("OTHER", Some(9)),
        torn,
        good,
    ]));
    assert_eq!(store.read().await.customers.len(), 2);
    assert_eq!(browser.asked(), 1);
}

#[tokio::test]
async fn p11_silence_is_reported_with_the_instance_and_what_to_do() {
    let (browser, place, store) = instance("CRM").await;
    // The real browser does not answer either, if it does not know the instance.
    for reply in [BrowserReply::Nothing, BrowserReply::Instance("OTHER", Some(1))] {
        browser.set(reply);
        let said = after_two_silences(&browser, &store).await;
        let host = browser.address();
        assert!(said.contains(&format!("the instance CRM on {host} is not found")), "{said}");
        assert!(said.contains("(UDP port 1434) does not answer"), "{said}");
        assert!(said.contains("Check that there is an instance CRM"), "{said}");
        assert!(said.contains(&format!("store.server = \"{host},PORT\"")), "{said}");
    }
    browser.set(BrowserReply::Instance("CRM", Some(port(&place))));
    assert_eq!(until_it_works(async || store.try_read(Records::All).await).await.customers.len(), 2);
}

#[tokio::test]
async fn p11_nonsense_and_silence_have_different_messages() {
    let (browser, _place, store) = instance("CRM").await;
    browser.set(BrowserReply::Datagrams(vec![
        b"HTTP/1.1 400 Bad Request".to_vec(),
        browser_answer("OTHER", Some(1433)),
    ]));
    let said = after_two_silences(&browser, &store).await;
    assert!(said.contains("the answer from UDP port 1434 of that host is not about this instance"), "{said}");
    assert!(said.contains("Check the name of the instance"), "{said}");
}

#[tokio::test]
async fn p11_an_instance_without_a_tcp_port_is_reported_at_once() {
    let (browser, _place, store) = instance("CRM").await;
    browser.set(BrowserReply::Instance("CRM", None));
    let said = words(&store.try_read(Records::All).await.unwrap_err());
    assert!(said.contains("the instance CRM on") && said.contains("the instance has no TCP port"), "{said}");
    assert!(said.contains("Enable TCP/IP for CRM in SQL Server Configuration Manager"), "{said}");
    assert_eq!(browser.asked(), 1, "it would not say anything else");
}

#[tokio::test]
async fn p11_a_server_without_a_browser_says_so_at_once() {
    let (browser, _place, store) = instance("CRM").await;
    drop(browser);
    let said = words(&store.try_read(Records::All).await.unwrap_err());
    assert!(said.contains("no SQL Server Browser runs on that host (UDP port 1434)"), "{said}");
    assert!(said.contains("Start the service SQL Server Browser"), "{said}");
}

#[tokio::test]
async fn p11_an_instance_that_is_not_where_the_browser_says_cannot_be_reached() {
    let (browser, place, store) = instance("CRM").await;
    browser.set(BrowserReply::Instance("CRM", Some(port(&place))));
    place.fake().stop();
    let said = words(&store.try_read(Records::All).await.unwrap_err());
    assert!(said.contains(&format!("SQL Server {}\\CRM cannot be reached", browser.address())), "{said}");
}
