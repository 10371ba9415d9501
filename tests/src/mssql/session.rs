//! One connection of a fake SQL Server: prelogin, TLS, login, requests.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncWrite, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::faults::Fault;
use super::meter::{Gate, Metered};
use super::settings::Accepts;
use super::sql::{self, Outcome, Session};
use super::state::{Shared, State};
use super::tls::Disguise;
use super::wire::bytes::Malformed;
use super::wire::login;
use super::wire::packet::{self, Kind, Message};
use super::wire::prelogin::{self, Encryption};
use super::wire::rpc::{self, Request};
use super::wire::tokens::{Done, Said, Tokens};

/// The most parameters in one call.
const MOST_PARAMETERS: usize = 2100;
/// The size of packets before the login.
const FIRST_PACKETS: usize = 4096;

/// Serves a connection to its end. Errors are ignored, because the client sees them.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, wire: Arc<Gate>, tds: Arc<Gate>) {
    let _leaving = Leaving { shared: Arc::clone(&shared), wire: Arc::clone(&wire) };
    let _ = stream.set_nodelay(true);
    let _ = begin(&shared, stream, &wire, &tds).await;
}

/// Counts the connection as gone at its drop, however it ends: a session can be killed.
struct Leaving {
    shared: Arc<Shared>,
    wire: Arc<Gate>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.shared.update(|state| state.gone(&self.wire));
    }
}

/// Begins a connection: with TLS first, with TLS after the prelogin, or without TLS.
async fn begin(shared: &Arc<Shared>, stream: TcpStream, wire: &Arc<Gate>, tds: &Arc<Gate>) -> io::Result<()> {
    let mut first = [0; 1];
    if stream.peek(&mut first).await? == 0 {
        return Ok(());
    }
    let accepts = shared.lock().settings.accepts;
    let mut stream = Metered::new(stream, Arc::clone(wire));
    if first[0] == 0x16 {
        if accepts == Accepts::Plain {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let tls = shared.tls.strict.accept(stream).await?;
        if tls.get_ref().1.alpn_protocol() != Some(b"tds/8.0") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut stream = Metered::new(tls, Arc::clone(tds));
        prelogin(&mut stream, Encryption::Strict).await?;
        return log_in(shared, stream).await;
    }
    match accepts {
        Accepts::OnlyStrict => Err(io::ErrorKind::ConnectionReset.into()),
        Accepts::Plain => {
            prelogin(&mut stream, Encryption::NotSupported).await?;
            log_in(shared, Metered::new(stream, Arc::clone(tds))).await
        }
        Accepts::Both => {
            prelogin(&mut stream, Encryption::On).await?;
            let (disguised, over) = Disguise::new(stream);
            let tls = shared.tls.disguised.accept(disguised).await?;
            over.store(true, Ordering::Release);
            log_in(shared, Metered::new(tls, Arc::clone(tds))).await
        }
    }
}

async fn prelogin(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: Encryption) -> io::Result<()> {
    let message = packet::read(stream, FIRST_PACKETS).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let wanted = prelogin::parse(&message.body).map_err(bad)?;
    if message.kind != Kind::Prelogin {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // A client without encryption is accepted, unless the server requires encryption.
    let answer = if wanted == Encryption::NotSupported && answer == Encryption::On {
        Encryption::Required
    } else {
        answer
    };
    packet::write(stream, Kind::Answer, &prelogin::answer(answer), FIRST_PACKETS).await
}

fn bad(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed.0)
}

/// Accepts or refuses the login of the client.
async fn log_in<S>(shared: &Arc<Shared>, mut stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let message = packet::read(&mut stream, FIRST_PACKETS).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if message.kind != Kind::Login {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let login = login::parse(&message.body).map_err(bad)?;
    let (answer, fault) = shared.update(|state| check(state, &login));
    match &fault {
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::CutBefore | Fault::CutAfter) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
        Some(Fault::Error(_) | Fault::Garbled(_) | Fault::Replaced(_)) | None => {}
    }
    match answer {
        Ok((tokens, packet_size)) => {
            let bytes = tokens.into_bytes();
            if let Some(bytes) = fault.and_then(|fault| fault.instead_of(&bytes)) {
                return packet::write(&mut stream, Kind::Answer, &bytes, FIRST_PACKETS).await;
            }
            packet::write(&mut stream, Kind::Answer, &bytes, FIRST_PACKETS).await?;
            Connection::new(shared, stream, packet_size).run().await
        }
        Err(refused) => {
            let mut tokens = Tokens::default();
            refused.iter().for_each(|said| tokens.error(said));
            tokens.done(Done::Batch, false, true, None);
            packet::write(&mut stream, Kind::Answer, &tokens.into_bytes(), FIRST_PACKETS).await?;
            // The connection stays half open until the client has read the error.
            let _ = packet::read(&mut stream, FIRST_PACKETS).await;
            Ok(())
        }
    }
}

type Answer = Result<(Tokens, usize), Vec<Said>>;

fn check(state: &mut State, login: &login::Login) -> (Answer, Option<Fault>) {
    let settings = &state.settings;
    let refused = if !login.user.eq_ignore_ascii_case(&settings.user) || login.password != settings.password {
        Some(vec![sql::login_failed(&login.user)])
    } else if !login.database.eq_ignore_ascii_case(&settings.database) {
        Some(vec![sql::no_database(&login.database), sql::login_failed(&login.user)])
    } else {
        None
    };
    if let Some(refused) = refused {
        state.stats.logins_refused += 1;
        return (Err(refused), None);
    }
    let fault = state.faults.strike(None);
    if let Some(Fault::Error(number)) = fault {
        state.stats.logins_refused += 1;
        return (Err(vec![sql::text_of(number)]), fault);
    }
    state.stats.logins += 1;
    let wanted = usize::try_from(login.packet_size).unwrap_or(FIRST_PACKETS);
    let wanted = if wanted == 0 { FIRST_PACKETS } else { wanted };
    let packet_size = wanted.clamp(512, state.settings.packet_size);
    (Ok((welcome(&state.settings.database, login, packet_size), packet_size)), fault)
}

fn welcome(database: &str, login: &login::Login, packet_size: usize) -> Tokens {
    let mut tokens = Tokens::default();
    let message = |number, text: String| Said { number, state: 1, class: 0, text };
    tokens.changed(1, database, "master");
    tokens.info(&message(5701, format!("Changed database context to '{database}'.")));
    tokens.collation();
    tokens.changed(2, "us_english", "");
    tokens.info(&message(5703, "Changed language setting to us_english.".to_owned()));
    tokens.login_ack();
    tokens.changed(4, &packet_size.to_string(), &login.packet_size.to_string());
    tokens.done(Done::Batch, false, false, None);
    tokens
}

/// The session of a client after its login.
struct Connection<'a, S> {
    shared: &'a Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    reader: AbortHandle,
    stream: WriteHalf<S>,
    packet_size: usize,
    session: Session,
}

impl<S> Drop for Connection<'_, S> {
    fn drop(&mut self) {
        // The reader has the other half of the stream, which must not outlive the connection.
        self.reader.abort();
        self.shared.update(|state| self.session.end(&mut state.database));
    }
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<'a, S> {
    fn new(shared: &'a Arc<Shared>, stream: S, packet_size: usize) -> Self {
        let (mut half, stream) = split(stream);
        let (sender, messages) = mpsc::channel(4);
        let reader = tokio::spawn(async move {
            while let Ok(Some(message)) = packet::read(&mut half, packet_size).await {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
        });
        let reader = reader.abort_handle();
        let session = Session::new(shared.lock().settings.implicit_transactions);
        Self { shared, messages, reader, stream, packet_size, session }
    }

    async fn run(mut self) -> io::Result<()> {
        while let Some(message) = self.messages.recv().await {
            self.shared.update(|state| state.note_received(&message.body));
            if !self.request(message).await? {
                break;
            }
        }
        Ok(())
    }

    /// Answers a request. Returns false if the connection ends with it.
    async fn request(&mut self, message: Message) -> io::Result<bool> {
        let parsed = match message.kind {
            Kind::Batch => rpc::batch(&message.body),
            Kind::Rpc => rpc::call(&message.body),
            Kind::Attention => return self.acknowledge().await,
            other => Err(Malformed(format!("a message of kind {other:?}"))),
        };
        let request = match parsed {
            Ok(request) => request,
            Err(why) => return self.refuse(message.kind == Kind::Rpc, &sql::unknown(&why.0), false).await,
        };
        let Some(name) = name_of(&request.text) else {
            let start: String = request.text.chars().take(60).collect();
            let said = sql::unknown(&format!("a statement without a name: {start}"));
            return self.refuse(request.is_call, &said, true).await;
        };
        let (fault, latency) = self.shared.update(|state| {
            *state.stats.statements.entry(name.to_owned()).or_default() += 1;
            (state.faults.strike(Some(name)), state.settings.latency)
        });
        if request.parameters.len() > MOST_PARAMETERS {
            return self.refuse(request.is_call, &sql::too_many_parameters(), false).await;
        }
        let wait = match &fault {
            Some(Fault::CutBefore) => return Ok(false),
            Some(Fault::Silence) => None,
            Some(Fault::Delay(delay)) => Some(*delay + latency),
            _ => Some(latency),
        };
        if wait.is_none_or(|wait| !wait.is_zero())
            && let Some(attended) = self.attended(wait).await
        {
            return if attended { self.acknowledge().await } else { Ok(false) };
        }
        if let Some(Fault::Error(number)) = &fault {
            let said = sql::text_of(*number);
            return self.refuse(request.is_call, &said, said.class < 20).await;
        }
        let outcomes = self.shared.update(|state| {
            let now = state.now();
            sql::run(&mut state.database, &mut self.session, &request, now)
        });
        if fault == Some(Fault::CutAfter) {
            return Ok(false);
        }
        let tokens = answer(&request, outcomes, self.session.nocount);
        if let Some(fault) = fault {
            let bytes = tokens.into_bytes();
            let (bytes, goes_on) = match fault.instead_of(&bytes) {
                Some(other) => (other, false),
                None => (bytes, true),
            };
            packet::write(&mut self.stream, Kind::Answer, &bytes, self.packet_size).await?;
            return Ok(goes_on);
        }
        self.send(tokens).await?;
        Ok(true)
    }

    /// Waits. Returns `Some` if the client acted first: true for an attention, false for the end of the connection.
    async fn attended(&mut self, wait: Option<std::time::Duration>) -> Option<bool> {
        let time = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => None,
            message = self.messages.recv() => Some(message.is_some_and(|message| message.kind == Kind::Attention)),
        }
    }

    async fn acknowledge(&mut self) -> io::Result<bool> {
        let mut tokens = Tokens::default();
        tokens.attention();
        self.send(tokens).await?;
        Ok(true)
    }

    async fn refuse(&mut self, is_call: bool, said: &Said, goes_on: bool) -> io::Result<bool> {
        let mut tokens = Tokens::default();
        tokens.error(said);
        tokens.done(if is_call { Done::Call } else { Done::Batch }, false, true, None);
        self.send(tokens).await?;
        Ok(goes_on)
    }

    async fn send(&mut self, tokens: Tokens) -> io::Result<()> {
        packet::write(&mut self.stream, Kind::Answer, &tokens.into_bytes(), self.packet_size).await
    }
}

/// Returns the name in the comment at the beginning of each statement of the daemon.
fn name_of(text: &str) -> Option<&str> {
    let name = text.strip_prefix("/* tbtokend:")?.split_once(" */")?.0;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).then_some(name)
}

fn answer(request: &Request, outcomes: Vec<Outcome>, nocount: bool) -> Tokens {
    let mut tokens = Tokens::default();
    let (each, last) = if request.is_call { (Done::InCall, Done::Call) } else { (Done::Batch, Done::Batch) };
    let mut failed = false;
    for outcome in outcomes {
        match outcome {
            Outcome::Rows(rows) => {
                tokens.columns(&rows.columns);
                rows.rows.iter().for_each(|row| tokens.row(&rows.columns, row));
                tokens.done(each, true, false, Some(rows.rows.len() as u64));
            }
            Outcome::Count(_) if nocount => {}
            Outcome::Count(count) => tokens.done(each, true, false, Some(count)),
            Outcome::Error(said) => {
                tokens.error(&said);
                failed = true;
            }
        }
    }
    if request.is_call && !failed {
        tokens.status(0);
    }
    tokens.done(last, false, failed, None);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_its_name_has_one() {
        assert_eq!(name_of("/* tbtokend:save */ UPDATE"), Some("save"));
        assert_eq!(name_of("/* tbtokend:keep_key */"), Some("keep_key"));
        for text in ["SELECT 1", "/* save */ x", "/* tbtokend: */ x", "/* tbtokend:a b */ x"] {
            assert_eq!(name_of(text), None, "{text}");
        }
    }
}
