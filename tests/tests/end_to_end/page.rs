//! The admin page in a real browser, controlled over WebDriver. Without chromedriver the tests print that they are skipped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tbtoken_tests::harness::http::free_port;
use tbtoken_tests::harness::{Installation, Row, wait};
use tbtoken_tests::thingsboard::{ThingsBoard, User};

use super::http::{token, with_http};

/// A headless Chromium. The drop ends it.
struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts the browser; `None` if this machine has no chromedriver.
    fn start() -> Option<Self> {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(driver) = command.spawn() else {
            println!(
                "did not run: there is no chromedriver here (Debian: apt-get install chromium chromium-driver)"
            );
            return None;
        };
        let mut browser = Self { driver, port, session: String::new() };
        wait::poll(wait::TIMEOUT, || TcpStream::connect(("127.0.0.1", port)).ok())
            .expect("chromedriver answers");
        let options =
            json!({ "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"] });
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.send("POST", "", &wanted);
        browser.session = format!("/{}", session["sessionId"].as_str().expect("a session"));
        Some(browser)
    }

    fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(wait::TIMEOUT)).unwrap();
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let head = format!("{method} /session{}{path} HTTP/1.1\r\nHost: localhost\r\n", self.session);
        write!(
            stream,
            "{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    /// Runs a script in the page and returns its result.
    fn run(&self, script: &str) -> Value {
        self.send("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until this expression is true in the page.
    fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        let holds = wait::poll(wait::TIMEOUT, || (self.run(&script) == json!(true)).then_some(()));
        let page = || self.run("return document.body.innerText");
        assert!(holds.is_some(), "waited in vain for {expression}: {}", page().as_str().unwrap_or_default());
    }

    fn click(&self, selector: &str) {
        self.run(&format!("document.querySelector({}).click()", json!(selector)));
    }

    fn text(&self, selector: &str) -> String {
        let text = self.run(&format!("return document.querySelector({}).textContent", json!(selector)));
        text.as_str().unwrap().to_owned()
    }

    fn typed(&self, selector: &str, text: &str) {
        let script = format!(
            "const field = document.querySelector({}); field.value = {}; field.dispatchEvent(new Event('input'));",
            json!(selector),
            json!(text)
        );
        self.run(&script);
    }

    /// Saves a picture of the page, for people to look at.
    fn picture(&self, folder: &Path, name: &str, width: u32, scheme: &str) {
        let cdp = |cmd: &str, params: Value| {
            self.send("POST", "/goog/cdp/execute", &json!({ "cmd": cmd, "params": params }))
        };
        let size = json!({ "width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": width < 500 });
        cdp("Emulation.setDeviceMetricsOverride", size);
        cdp(
            "Emulation.setEmulatedMedia",
            json!({ "features": [
                { "name": "prefers-color-scheme", "value": scheme },
                { "name": "prefers-reduced-motion", "value": "reduce" },
            ] }),
        );
        self.until("document.documentElement.scrollWidth <= innerWidth");
        let picture =
            STANDARD.decode(self.send("GET", "/screenshot", &Value::Null).as_str().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}-{width}-{scheme}.png")), picture).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.send("DELETE", "", &json!({}));
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

#[test]
fn a_person_sees_the_customers_in_trouble_with_reasons_and_can_act() {
    let Some(browser) = Browser::start() else { return };
    let thingsboard = ThingsBoard::start();
    let mut rows: Vec<_> = thingsboard
        .add_many(600, |n| User::new(format!("ops{n}@acme.example")))
        .iter()
        .map(|account| Row::new(&account.username, account))
        .collect();
    let hostile = "<img src=x onerror=document.title='hacked'>";
    let account = thingsboard.add(User::new(hostile));
    rows.push(Row::new("0-hostile", &account).password("canary-pw-wrong"));
    let port = free_port();
    let installation = with_http(Installation::new().with_rows(&rows), port);
    let daemon = installation.start();
    daemon.until("all but one are valid", |status| {
        status.tokens.summary.valid == 600
            && status.tokens.summary.parked == 1
            && status.daemon.http.is_some()
    });

    browser.send("POST", "/url", &json!({ "url": format!("http://127.0.0.1:{port}/admin/token-refresh") }));
    browser.run("window.broken = []; document.addEventListener('securitypolicyviolation', (e) => broken.push(e.blockedURI));");
    browser.until("document.activeElement.id === 'token'");
    let sign_in = |token: &str| {
        browser.typed("#token", token);
        browser.run("document.getElementById('form').requestSubmit()");
    };
    sign_in("wrong");
    browser.until("document.getElementById('door-error').textContent === 'This token is wrong. Use the one in http.token_file.'");
    sign_in(&token("write"));
    browser.until("document.querySelectorAll('#rows tr.row').length === 500");
    assert_eq!(browser.text("#headline"), "1 of 601 customers needs attention.");
    assert_eq!(browser.text("#causes"), "1 × wrong password");
    assert_eq!(browser.text("#more"), "101 more: narrow the search.");
    assert!(browser.text("#rows tr.row td:nth-child(3)").contains(hostile));
    assert!(browser.text("#rows tr.row").contains("wrong password"), "problems are first");

    assert_eq!(browser.text("#rows tr.row td:nth-child(6)"), "parked");

    // The customer, the reason, and the remedy are there without a click.
    browser.until("document.querySelector('.story')");
    let story = browser.text(".story");
    for words in ["Parked since", "Invalid username or password", "What to do", "tb_password"] {
        assert!(story.contains(words), "{words} in {story}");
    }

    // Each count is a filter, and the search goes over all customers.
    for (count, rows) in [
        ("valid", 500),
        ("expiring_soon", 0),
        ("expired", 0),
        ("missing", 1),
        ("parked", 1),
        ("retrying", 0),
        ("total", 500),
    ] {
        browser.click(&format!("[data-count={count}]"));
        browser.until(&format!(
            "document.querySelector('[data-count={count}]').getAttribute('aria-pressed') === 'true'"
        ));
        browser.until(&format!("document.querySelectorAll('#rows tr.row').length === {rows}"));
    }
    browser.typed("#search", "OPS599@acme");
    browser.until("document.querySelectorAll('#rows tr.row').length === 1");
    assert_eq!(browser.text("#matched"), "1 of 601");
    browser.click("#rows .id");
    browser.click(".story button");
    browser.until("document.getElementById('said').textContent.startsWith('1 renewed, 0 failed')");
    browser.typed("#search", "");
    browser.until("document.querySelectorAll('#rows tr.row').length === 500");

    // Stop needs a confirmation; Start does not.
    browser.click("#stop");
    browser.until("document.getElementById('ask').open");
    assert_eq!(browser.run("return document.activeElement.value"), json!("no"));
    browser.click("#ask-yes");
    browser.until("document.querySelector('#loop strong').textContent === 'Stopped'");
    assert!(!daemon.status().cron.running);
    browser.until("[...document.querySelectorAll('#rows td:nth-child(6)')].some(cell => cell.textContent === 'stopped')");
    browser.click("#start");
    browser.until("document.querySelector('#loop strong').textContent === 'Running'");
    browser.click("#refresh");
    browser.until("/skipped|No customer is due/.test(document.getElementById('said').textContent)");

    browser.click("#rows .id");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    for width in [1280, 768, 360] {
        for scheme in ["light", "dark"] {
            browser.picture(&folder, "english", width, scheme);
        }
    }
    println!("pictures of the page: {}", folder.display());
    let painted = browser.run("return performance.getEntriesByName('first-contentful-paint')[0].startTime");
    println!("first paint after {painted} ms");
    browser.click("#lang");
    browser.until(
        "document.getElementById('headline').textContent === '1 von 601 Kunden braucht Ihre Aufmerksamkeit.'",
    );

    // The daemon's sentences are German too. What ThingsBoard says stays as it is, in quotation marks.
    installation.table().set("ops7@acme.example", "tb_password", Some(" "));
    browser.until("document.getElementById('former').textContent.includes('tb_password ist leer.')");
    browser.until("document.getElementById('events').textContent.includes('Wird nicht mehr erneuert: tb_password ist leer.')");
    let story = browser.text(".story");
    for words in ["Geparkt seit", "ThingsBoard meldet: „Invalid username or password“.", "Was zu tun ist"]
    {
        assert!(story.contains(words), "{words} in {story}");
    }
    for (english, german) in [
        (
            "waiting for its server: the server answered with an internal error (HTTP 502)",
            "Wartet auf den Server: Der Server meldet einen internen Fehler (HTTP 502).",
        ),
        (
            "the server cannot be reached: tcp connect error",
            "Der Server ist nicht erreichbar: „tcp connect error“.",
        ),
        (
            "/a.db is locked by another program. End the program that holds a long write transaction on it.",
            "/a.db ist von einem anderen Programm gesperrt. Beenden Sie das Programm, das darauf eine lange Schreibtransaktion hält.",
        ),
        ("a sentence without a German form", "Meldung im Original: „a sentence without a German form“."),
    ] {
        assert_eq!(browser.run(&format!("return told({})", json!(english))), json!(german));
    }
    let all = browser.text("main#board");
    assert!(!all.contains("Meldung im Original"), "{all}");
    for (width, scheme) in [(1280, "light"), (768, "dark"), (360, "light"), (1200, "light")] {
        browser.picture(&folder, "german", width, scheme);
    }
    let is_whole = "[...document.querySelectorAll('th')].every(head => head.scrollWidth <= head.clientWidth)";
    assert_eq!(browser.run(&format!("return {is_whole}")), json!(true), "a heading is cut");
    let next =
        "return what_next({ state: 'ok', token_status: 'valid', next_attempt_at: '2126-12-01T12:55:18Z' })";
    let next = browser.run(next);
    assert!(next.as_str().unwrap().starts_with("Nächste Erneuerung am 1. Dez. um "), "{next}");

    // No text of a customer became HTML, and the policy blocked nothing.
    assert_eq!(browser.run("return document.querySelectorAll('img').length"), json!(0));
    assert_eq!(browser.run("return broken"), json!([]));
    let log = browser.send("POST", "/se/log", &json!({ "type": "browser" })).to_string();
    assert!(!log.contains("Content Security Policy") && !log.contains("Uncaught"), "{log}");

    // Without the daemon the page says since when it is down, and keeps its data.
    drop(daemon);
    browser.until("document.getElementById('banner').textContent.startsWith('Nicht erreichbar seit')");
    assert_eq!(browser.run("return document.querySelectorAll('#rows tr.row').length"), json!(500));
    let daemon = installation.start();
    browser.until("document.getElementById('banner').hidden");
    browser.click("#out");
    sign_in(&token("read"));
    browser.until("document.getElementById('stop').disabled && !document.getElementById('right').hidden");
    drop(daemon);
}
