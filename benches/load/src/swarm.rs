//! Many satellites at once.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hivemind_protocol::MessageType;
use hivemind_protocol::envelope::wrap;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::Failure;
use crate::bus::{Bus, MARK};
use crate::satellite::{Identity, Satellite, Speaker};

/// So many satellites are on their way in at the same time.
const AT_ONCE: usize = 16;
/// So many messages of a satellite are on their way to the bus at the same time.
const IN_FLIGHT: u32 = 32;

/// An utterance as a satellite sends it, marked for the [`Bus`].
#[must_use]
pub fn utterance(kind: &str, sent: u128) -> Vec<u8> {
    let payload = format!(
        r#"{{"type":"{kind}","data":{{"utterances":["turn off the light in the kitchen"],"lang":"en-us",{MARK}{sent}}},"context":{{"source":"swarm","platform":"swarm","destination":"HiveMind","session":{{"session_id":"4fd4a3c2-7d0e-4a8e-9c6b-0d7f5f7f2f11","site_id":"load","lang":"en-us"}}}}}}"#
    );
    wrap(MessageType::Bus, payload.as_bytes())
}

/// Lets each of these connect, up to its session, and leave again.
///
/// # Errors
/// If one is not let in.
pub async fn connect_and_leave(node: SocketAddr, identities: &[Identity]) -> Result<(), Failure> {
    stream::iter(identities)
        .map(|identity| async move { Satellite::connect(node, identity).await?.leave().await })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Satellites that stay. What they hear is read all the time, as pings are answered by it.
pub struct Swarm {
    members: Vec<Member>,
    _listeners: JoinSet<()>,
}

struct Member {
    speaker: Speaker,
    heard: UnboundedReceiver<Result<String, String>>,
}

impl Swarm {
    /// Connects all of these.
    ///
    /// # Errors
    /// If one is not let in.
    pub async fn connect(node: SocketAddr, identities: &[Identity]) -> Result<Self, Failure> {
        let connected = stream::iter(identities).map(|identity| Satellite::connect(node, identity)).buffer_unordered(AT_ONCE);
        let satellites: Vec<Satellite> = connected.try_collect().await?;
        let mut listeners = JoinSet::new();
        let members = satellites.into_iter().map(|satellite| {
            let (speaker, mut listener) = satellite.split();
            let (sender, heard) = unbounded_channel();
            listeners.spawn(async move {
                loop {
                    let heard = listener.hear().await.map_err(|e| e.to_string());
                    let is_over = heard.is_err();
                    if sender.send(heard).is_err() || is_over {
                        return;
                    }
                }
            });
            Member { speaker, heard }
        });
        Ok(Self { members: members.collect(), _listeners: listeners })
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Sends so many messages of this type, which is allowed, from all in turn, and waits until all are on the bus.
    ///
    /// # Errors
    /// If a satellite is thrown out.
    pub async fn send(&mut self, bus: &Bus, kind: &str, messages: usize) -> Result<(), Failure> {
        let members = self.members.len();
        let window = IN_FLIGHT * u32::try_from(members)?;
        for sent in 0..messages {
            if sent >= usize::try_from(window)? {
                bus.wait(1).await;
            }
            self.members[sent % members].speaker.say(&utterance(kind, bus.now())).await?;
        }
        bus.wait(window.min(u32::try_from(messages)?)).await;
        Ok(())
    }

    /// The same, one message each `pace`, whatever has arrived.
    ///
    /// # Errors
    /// If a satellite is thrown out.
    pub async fn send_paced(&mut self, bus: &Bus, kind: &str, messages: usize, pace: Duration) -> Result<(), Failure> {
        let mut clock = tokio::time::interval(pace);
        clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let members = self.members.len();
        for sent in 0..messages {
            clock.tick().await;
            self.members[sent % members].speaker.say(&utterance(kind, bus.now())).await?;
        }
        bus.wait(u32::try_from(messages)?).await;
        Ok(())
    }

    /// Lets each send so many messages of this type, which is not allowed, each after the denial of the one before.
    ///
    /// # Errors
    /// If something else comes back.
    pub async fn be_denied(&mut self, kind: &str, each: usize) -> Result<(), Failure> {
        let envelope = utterance(kind, 0);
        let all = self.members.iter_mut().map(|member| {
            let envelope = &envelope;
            async move {
                for _ in 0..each {
                    // Whether it was sent or not: what was heard last says why.
                    let sent = member.speaker.say(envelope).await;
                    let heard = member.heard.recv().await.ok_or("the node is gone")??;
                    sent?;
                    if !heard.contains("hive.policy.denied") {
                        return Err(format!("instead of a denial: {heard}").into());
                    }
                }
                Ok::<_, Failure>(())
            }
        });
        futures_util::future::try_join_all(all).await?;
        Ok(())
    }
}
