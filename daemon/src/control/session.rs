//! The requests of one client, and their answers.

use std::collections::HashMap;
use std::io;

use tbtoken_proto as proto;
use tbtoken_proto::ErrorCode::{BadConfiguration, BadRequest, Internal, ReadOnly, UnknownAction};
use tokio::sync::{mpsc, oneshot};

use super::outgoing::Outgoing;
use crate::clock::Clock;
use crate::engine::credentials::Leave;
use crate::engine::handle::Handle;
use crate::engine::plan::Selection;
use crate::engine::view;
use crate::metrics::{content_type, exposition};
use crate::model::CustomerId;
use crate::notify;

/// The access that a socket gives to its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    Control,
    /// Read only: the monitor socket, and HTTP with the read token.
    Monitor,
}

/// An order to read the configuration again. A client waits for the result: the changes, or the reason of the refusal. A
/// signal has no client.
pub type Reload = Option<oneshot::Sender<Result<String, String>>>;

/// The ways to the parts of the daemon that a client gives orders to, besides the loop.
#[derive(Debug, Clone)]
pub struct Orders {
    /// Reads the configuration again.
    pub reload: mpsc::Sender<Reload>,
    /// To the receivers of messages; none if there is no receiver.
    pub receivers: Option<mpsc::Sender<notify::Order>>,
}

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Session {
    access: Access,
    handle: Handle,
    clock: Clock,
    /// Where its orders go; none over HTTP, which has no such requests.
    orders: Option<Orders>,
}

impl Session {
    pub(crate) fn new(access: Access, handle: Handle, clock: Clock, orders: Option<Orders>) -> Self {
        Self { access, handle, clock, orders }
    }

    /// Answers one line.
    pub(super) async fn answer(&self, line: &str) -> io::Result<Outgoing> {
        match proto::Envelope::parse(line) {
            Ok(envelope) => self.respond(envelope).await,
            Err((id, refusal)) => Outgoing::line(&proto::Answer { id, outcome: Err(refusal) }),
        }
    }

    /// Answers one request.
    pub(crate) async fn respond(&self, envelope: proto::Envelope) -> io::Result<Outgoing> {
        let proto::Envelope { id, request } = envelope;
        if let proto::Request::Status(query) = request {
            return Outgoing::status(id, query, self.handle.snapshot(), self.clock.now());
        }
        let outcome = self.carry_out(request).await;
        Outgoing::line(&proto::Answer { id, outcome })
    }

    async fn carry_out(&self, request: proto::Request) -> Result<proto::Reply, proto::Refusal> {
        match request {
            proto::Request::Status(query) => {
                self.handle.snapshot().status(&query, self.clock.now()).map(proto::Reply::from)
            }
            proto::Request::Events { since, limit } => Ok(self.handle.snapshot().events(since, limit).into()),
            proto::Request::Version {} => {
                let mut daemon = self.handle.snapshot().daemon.clone();
                daemon.failing_receivers = notify::failing();
                Ok(proto::VersionReply { daemon }.into())
            }
            proto::Request::Metrics { format } => {
                let text = exposition(self.handle.snapshot(), self.clock.now(), format, false);
                let bug =
                    |error| proto::Refusal::new(Internal, format!("the metrics cannot be written: {error}"));
                let content_type = content_type(format).to_owned();
                Ok(proto::MetricsReply { content_type, text: text.map_err(bug)? }.into())
            }
            _ if self.access == Access::Monitor => Err(proto::Refusal::new(
                ReadOnly,
                "this access is read-only (status, events, metrics, version); for changes use the control socket, or over HTTP the token in http.token_file",
            )),
            proto::Request::Start {} => self.steer(true).await,
            proto::Request::Stop {} => self.steer(false).await,
            proto::Request::Refresh(refresh) => self.refresh(refresh).await,
            proto::Request::Reload {} => self.reload().await,
            proto::Request::NotifyList {} => self.notify(None).await,
            proto::Request::NotifyTest { receiver } => self.notify(Some(receiver)).await,
        }
    }

    /// Where orders go.
    fn orders(&self, action: &str) -> Result<&Orders, proto::Refusal> {
        let refuse = || format!("{action} is for the control socket: tbctl {action}");
        self.orders.as_ref().ok_or_else(|| proto::Refusal::new(UnknownAction, refuse()))
    }

    /// Lists the receivers of messages, after a test of one or all of them.
    async fn notify(&self, test: Option<Option<String>>) -> Result<proto::Reply, proto::Refusal> {
        let refuse = |error: String| proto::Refusal::new(BadRequest, error);
        let orders = self.orders("notify")?.receivers.as_ref();
        let mut results = HashMap::new();
        if let Some(receiver) = test.clone() {
            let orders = orders.ok_or_else(|| {
                refuse("there is no receiver: add a section [[notify.receiver]] to the configuration and restart tbtokend".to_owned())
            })?;
            let (reply, answer) = oneshot::channel();
            let named = receiver.clone();
            let order = notify::Order::Test(receiver, reply);
            orders.send(order).await.map_err(|_| view::shutting_down())?;
            results.extend(answer.await.map_err(|_| view::shutting_down())?);
            if let (Some(name), true) = (named, results.is_empty()) {
                return Err(refuse(format!("there is no receiver {name:?}; tbctl notify list shows all")));
            }
        }
        let receivers = notify::receivers().into_iter().filter_map(|receiver| {
            let result = results.remove(&receiver.name);
            (test.is_none() || result.is_some()).then(|| shown(receiver, result))
        });
        Ok(proto::NotifyReply { receivers: receivers.collect() }.into())
    }

    async fn reload(&self) -> Result<proto::Reply, proto::Refusal> {
        let (order, outcome) = oneshot::channel();
        self.orders("reload")?.reload.send(Some(order)).await.map_err(|_| view::shutting_down())?;
        match outcome.await.map_err(|_| view::shutting_down())? {
            Ok(message) => Ok(proto::ReloadReply { message }.into()),
            Err(error) => Err(proto::Refusal::new(BadConfiguration, error)),
        }
    }

    async fn steer(&self, run: bool) -> Result<proto::Reply, proto::Refusal> {
        let steered = self.handle.steer(run).await.map_err(|_| view::shutting_down())?;
        let cron = steered.snapshot.cron.clone();
        let stopped = proto::words::stopped(cron.stopped_since);
        let mut message = match (run, steered.already) {
            (true, false) => "the loop is started".to_owned(),
            (true, true) => "the loop is running already".to_owned(),
            (false, false) => format!("the loop {stopped}. A running pass still finishes"),
            (false, true) => format!("the loop {stopped}. It was stopped already"),
        };
        if let Some(why) = steered.not_kept {
            message.push_str(&format!(
                "; but this could not be stored ({why}): a restart of tbtokend undoes it unless the database works by then"
            ));
        }
        Ok(proto::SteerReply { message, cron }.into())
    }

    async fn refresh(&self, refresh: proto::Refresh) -> Result<proto::Reply, proto::Refusal> {
        let selection = match (refresh.customers, refresh.all) {
            (Some(ids), _) => Selection::Ids {
                ids: ids.into_iter().map(CustomerId::new).collect(),
                leave: if refresh.force { Leave::Forced } else { Leave::Requested },
                even_parked: true,
            },
            (None, true) => Selection::All,
            (None, false) => Selection::DueNow,
        };
        // A client that does not wait must still get an error for a wrong name, and a new row is known only after a poll.
        let waits_for_answer = refresh.wait || !self.knows_all(&selection);
        let pending =
            self.handle.refresh(selection, refresh.wait).await.map_err(|_| view::shutting_down())?;
        let details = match waits_for_answer {
            true => pending.await.map_err(|_| view::shutting_down())?.map_err(view::refresh_refusal)?,
            false => Vec::new(),
        };
        if refresh.wait {
            return Ok(view::refresh_reply(details).into());
        }
        let message = "accepted; see status and events for the outcome".to_owned();
        Ok(proto::RefreshReply { message, result: None }.into())
    }

    fn knows_all(&self, selection: &Selection) -> bool {
        let Some(ids) = selection.named() else { return true };
        let snapshot = self.handle.snapshot();
        ids.iter().all(|id| snapshot.contains(id.as_str()))
    }
}

fn shown(receiver: notify::ReceiverStatus, result: Option<Result<String, String>>) -> proto::Receiver {
    proto::Receiver {
        name: receiver.name,
        kind: receiver.kind.to_owned(),
        place: receiver.place,
        queued: receiver.queued,
        last_sent_at: receiver.last_sent,
        last_error: receiver.last_error,
        test: result.map(|result| proto::TestResult {
            accepted: result.is_ok(),
            answer: result.unwrap_or_else(|error| error),
        }),
    }
}
