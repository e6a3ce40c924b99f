//! A backend in another process, behind two pipes.
//!
//! The cases that need a handle in another process do not care how it got there. This is the plainest way: the other process opens
//! the store and calls [`serve`] on its standard input and output; the kit's side holds a [`Remote`]. One call at a time; requests
//! and replies are frames of a length (32 bits, little-endian) and bytes in the encoding of [`hivemind_model::wire`].

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hivemind_model::msgpack::{Reader, Writer};
use hivemind_model::wire::Wire;
use hivemind_model::{
    Applied, Backend, Capabilities, Changes, Collection, CollectionId, Context, Error, Key, KeyRef, Lookup, Mutation, Page,
    Query, Report, Result, Row, Task, Token, Value, ValueRef,
};

/// The largest frame that is believed.
const LARGEST: u32 = 1 << 30;

mod call {
    pub(super) const CAPABILITIES: u32 = 0;
    pub(super) const PREPARE: u32 = 1;
    pub(super) const GET: u32 = 2;
    pub(super) const GET_BY: u32 = 3;
    pub(super) const GET_MANY: u32 = 4;
    pub(super) const FIND: u32 = 5;
    pub(super) const COUNT: u32 = 6;
    pub(super) const APPLY: u32 = 7;
    pub(super) const CHANGES: u32 = 8;
    pub(super) const SYNC: u32 = 9;
    pub(super) const MAINTAIN: u32 = 10;
    pub(super) const STATS: u32 = 11;
    pub(super) const CLOSE: u32 = 12;
}

/// Answers calls until the input ends.
///
/// # Errors
/// What reading or writing a frame gave, other than the input's end between frames.
pub fn serve(backend: &dyn Backend, mut input: impl Read, mut output: impl Write) -> io::Result<()> {
    while let Some(request) = read_frame(&mut input)? {
        let mut reply = Writer::with_capacity(256);
        match answer(backend, &mut Reader::new(&request)) {
            Ok(answer) => {
                reply.bool(true);
                reply.raw(&answer.into_bytes());
            }
            Err(error) => {
                reply.bool(false);
                error.encode(&mut reply);
            }
        }
        write_frame(&mut output, &reply.into_bytes())?;
    }
    Ok(())
}

fn answer(backend: &dyn Backend, r: &mut Reader<'_>) -> Result<Writer> {
    let what = r.u32()?;
    let cx = match r.uint()? {
        u64::MAX => Context::unbounded(),
        micros => Context::within(Duration::from_micros(micros)),
    };
    let collection = CollectionId(r.u32()?);
    let mut w = Writer::with_capacity(256);
    match what {
        call::CAPABILITIES => backend.capabilities().encode(&mut w),
        call::PREPARE => {
            let ids = backend.prepare(&cx, &read_list::<Collection>(r)?)?;
            w.array(ids.len());
            ids.iter().for_each(|id| w.uint(id.0.into()));
        }
        call::GET => Lookup::Ok(backend.get(&cx, collection, Key::decode(r)?.as_ref())?).encode(&mut w),
        call::GET_BY => {
            let field = size(r.uint()?);
            Lookup::Ok(backend.get_by(&cx, collection, field, Value::decode(r)?.as_ref())?).encode(&mut w);
        }
        call::GET_MANY => write_list(&mut w, &backend.get_many(&cx, collection, &read_list::<Key>(r)?)?),
        call::FIND => {
            let max_bytes = size(r.uint()?);
            backend.find(&cx, &Query::decode(r)?, max_bytes)?.encode(&mut w);
        }
        call::COUNT => w.uint(backend.count(&cx, &Query::decode(r)?)?),
        call::APPLY => backend.apply(&cx, &read_list::<Mutation>(r)?)?.encode(&mut w),
        call::CHANGES => {
            let (token, changes) = backend.changes_since(&cx, collection, Token::decode(r)?)?;
            token.encode(&mut w);
            changes.encode(&mut w);
        }
        call::SYNC => backend.sync(&cx)?.encode(&mut w),
        call::MAINTAIN => backend.maintain(&cx, &Task::decode(r)?)?.encode(&mut w),
        call::STATS => backend.stats(&cx)?.encode(&mut w),
        call::CLOSE => backend.close(&cx)?,
        other => return Err(Error::unsupported(format!("there is no call {other}"))),
    }
    Ok(w)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn read_list<T: Wire>(r: &mut Reader<'_>) -> Result<Vec<T>> {
    (0..r.array()?).map(|_| T::decode(r)).collect()
}

fn write_list<T: Wire>(w: &mut Writer, list: &[T]) {
    w.array(list.len());
    list.iter().for_each(|item| item.encode(w));
}

/// `None` at the input's end.
fn read_frame(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length);
    if length > LARGEST {
        let message = format!("expected a frame of at most {LARGEST} bytes, found one of {length}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

fn write_frame(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= LARGEST);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the frame is too large"))?;
    output.write_all(&[&length.to_le_bytes(), bytes].concat())?;
    output.flush()
}

/// The kit's side: a backend whose calls are answered by [`serve`] at the other end.
///
/// The cancel flag does not cross; deadlines do.
pub struct Remote {
    pipes: Mutex<(Box<dyn Read + Send>, Box<dyn Write + Send>)>,
    capabilities: Capabilities,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

impl Remote {
    /// Takes the pipes from and to the other process and asks it what it is capable of.
    ///
    /// # Errors
    /// `unavailable` if it does not answer.
    pub fn new(from: impl Read + Send + 'static, to: impl Write + Send + 'static) -> Result<Self> {
        let pipes = Mutex::new((Box::new(from) as Box<dyn Read + Send>, Box::new(to) as Box<dyn Write + Send>));
        let mut remote = Self { pipes, capabilities: Capabilities::default() };
        remote.capabilities = remote.ask(&Context::unbounded(), call::CAPABILITIES, CollectionId(0), |_| {}, Wire::decode)?;
        Ok(remote)
    }

    fn ask<T>(
        &self,
        cx: &Context<'_>,
        what: u32,
        collection: CollectionId,
        write: impl FnOnce(&mut Writer),
        read: impl FnOnce(&mut Reader<'_>) -> Result<T>,
    ) -> Result<T> {
        cx.check()?;
        let mut w = Writer::with_capacity(256);
        w.uint(what.into());
        w.uint(cx.remaining().map_or(u64::MAX, |left| u64::try_from(left.as_micros()).unwrap_or(u64::MAX - 1)));
        w.uint(collection.0.into());
        write(&mut w);
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |e: io::Error| Error::unavailable(format!("the other process does not answer: {e}"));
        write_frame(&mut pipes.1, &w.into_bytes()).map_err(gone)?;
        let reply = read_frame(&mut pipes.0).map_err(gone)?;
        let reply = reply.ok_or_else(|| Error::unavailable("the other process has ended"))?;
        let mut r = Reader::new(&reply);
        if r.bool()? { read(&mut r) } else { Err(Error::decode(&mut r)?) }
    }
}

impl Backend for Remote {
    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn prepare(&self, cx: &Context<'_>, collections: &[Collection]) -> Result<Vec<CollectionId>> {
        let read = |r: &mut Reader<'_>| (0..r.array()?).map(|_| Ok(CollectionId(r.u32()?))).collect();
        self.ask(cx, call::PREPARE, CollectionId(0), |w| write_list(w, collections), read)
    }

    fn get(&self, cx: &Context<'_>, collection: CollectionId, key: KeyRef<'_>) -> Result<Option<Row>> {
        self.ask(cx, call::GET, collection, |w| key.to_key().encode(w), Lookup::decode)?
    }

    fn get_by(&self, cx: &Context<'_>, collection: CollectionId, field: usize, value: ValueRef<'_>) -> Result<Option<Row>> {
        let write = |w: &mut Writer| {
            w.uint(field as u64);
            value.to_value().encode(w);
        };
        self.ask(cx, call::GET_BY, collection, write, Lookup::decode)?
    }

    fn get_many(&self, cx: &Context<'_>, collection: CollectionId, keys: &[Key]) -> Result<Vec<Lookup>> {
        self.ask(cx, call::GET_MANY, collection, |w| write_list(w, keys), read_list)
    }

    fn find(&self, cx: &Context<'_>, query: &Query, max_bytes: usize) -> Result<Page> {
        let write = |w: &mut Writer| {
            w.uint(max_bytes as u64);
            query.encode(w);
        };
        self.ask(cx, call::FIND, query.collection, write, Wire::decode)
    }

    fn count(&self, cx: &Context<'_>, query: &Query) -> Result<u64> {
        self.ask(cx, call::COUNT, query.collection, |w| query.encode(w), |r| r.uint())
    }

    fn apply(&self, cx: &Context<'_>, mutations: &[Mutation]) -> Result<Applied> {
        self.ask(cx, call::APPLY, CollectionId(0), |w| write_list(w, mutations), Wire::decode)
    }

    fn changes_since(&self, cx: &Context<'_>, collection: CollectionId, token: Token) -> Result<(Token, Changes)> {
        let read = |r: &mut Reader<'_>| Ok((Token::decode(r)?, Changes::decode(r)?));
        self.ask(cx, call::CHANGES, collection, |w| token.encode(w), read)
    }

    fn sync(&self, cx: &Context<'_>) -> Result<Report> {
        self.ask(cx, call::SYNC, CollectionId(0), |_| {}, Wire::decode)
    }

    fn maintain(&self, cx: &Context<'_>, task: &Task) -> Result<Report> {
        self.ask(cx, call::MAINTAIN, CollectionId(0), |w| task.encode(w), Wire::decode)
    }

    fn stats(&self, cx: &Context<'_>) -> Result<Report> {
        self.ask(cx, call::STATS, CollectionId(0), |_| {}, Wire::decode)
    }

    fn close(&self, cx: &Context<'_>) -> Result<()> {
        self.ask(cx, call::CLOSE, CollectionId(0), |_| {}, |_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use hivemind_model::reference::Reference;
    use hivemind_model::{Code, Kind};

    use super::*;

    #[test]
    fn answers_and_errors_cross_and_an_ended_process_is_unavailable() {
        let (their_input, to) = io::pipe().expect("a pipe");
        let (from, their_output) = io::pipe().expect("a pipe");
        let server = thread::spawn(move || serve(&Reference::new(), their_input.take(200), their_output));
        let remote = Remote::new(from, to).expect("capabilities");
        assert_eq!(remote.capabilities(), Reference::new().capabilities());
        let cx = Context::unbounded();
        let ids = remote.prepare(&cx, &[Collection::new("c", 1, "id", Kind::Int)]).expect("an id");
        assert_eq!(remote.get(&cx, ids[0], KeyRef::Int(1)), Ok(None));
        assert_eq!(remote.get(&cx, CollectionId(9), KeyRef::Int(1)).map_err(|e| e.code()), Err(Code::Invalid));
        // The other side stops reading in the middle of a frame, as a process that dies does.
        let long = Key::Text("x".repeat(300));
        assert_eq!(remote.get(&cx, ids[0], long.as_ref()).map_err(|e| e.code()), Err(Code::Unavailable));
        assert!(server.join().expect("no panic").is_err(), "a frame cut short is an error");
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused() {
        let claim = u32::MAX.to_le_bytes();
        assert!(serve(&Reference::new(), &claim[..], io::sink()).is_err());
        assert!(serve(&Reference::new(), io::empty(), io::sink()).is_ok());
    }
}
