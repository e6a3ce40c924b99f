//! The conformance kit and its model test on one server: every store is a namespace of its own there.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::Server;
use hivemind_abi::Host;
use hivemind_abi::model::{Backend, Collection, Error, Key, Result};
use hivemind_conformance::{Failure, Instance, Plant, Subject, applicable, model_test};
use hivemind_redis_plugin::backend;
use libtest_mimic::{Arguments, Completion, Trial};

/// Sequences of the model test.
const SEQUENCES: u32 = 100;

struct OneServer {
    port: u16,
    stores: AtomicUsize,
}

impl Subject for OneServer {
    fn name(&self) -> String {
        "redis".to_owned()
    }

    fn fresh(&self) -> Result<Box<dyn Instance>> {
        let number = self.stores.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Store { port: self.port, prefix: format!("store{number}") }))
    }
}

struct Store {
    port: u16,
    prefix: String,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::io(error.to_string())
}

impl Store {
    fn connection(&self) -> Result<redis::Connection> {
        redis::Client::open(("127.0.0.1", self.port)).and_then(|client| client.get_connection()).map_err(failed)
    }

    fn key(&self, collection: &Collection, primary: &str, other: &str) -> String {
        match collection.primary {
            true => format!("{}:{primary}", self.prefix),
            false => format!("{}:collections:{}:{other}", self.prefix, collection.name),
        }
    }
}

impl Instance for Store {
    fn open(&self) -> Result<Arc<dyn Backend>> {
        let config = format!(r#"{{"port": {}, "index_prefix": "{}"}}"#, self.port, self.prefix);
        Ok(Arc::new(backend::open(&config, Host::detached("/nowhere"))?))
    }

    fn beside(&self) -> Result<Option<Arc<dyn Backend>>> {
        self.open().map(Some)
    }

    /// As a program would that keeps the sets as the Python node does, and knows nothing of kinds.
    fn plant(&self, collection: &Collection, plant: &Plant) -> Result<bool> {
        let mut connection = self.connection()?;
        match plant {
            Plant::Version(version) => {
                let key = self.key(collection, "schema_version", "version");
                redis::cmd("SET").arg(key).arg(*version).exec(&mut connection).map_err(failed)?;
            }
            Plant::Set { key, name, json } => {
                let id = match key {
                    Key::Int(key) => key.to_string(),
                    Key::Text(key) => key.clone(),
                };
                let at = self.key(collection, &format!("client:{id}"), &format!("record:{id}"));
                let text: String = redis::cmd("GET").arg(&at).query(&mut connection).map_err(failed)?;
                let mut record: serde_json::Value = serde_json::from_str(&text).map_err(failed)?;
                let value: serde_json::Value = serde_json::from_str(json).map_err(failed)?;
                if let Some(text) = value.as_str() {
                    let set = match collection.primary {
                        true => format!("{}:{name}:{text}", self.prefix),
                        false => format!("{}:indexes:{}:set:{name}:{text}", self.prefix, collection.name),
                    };
                    redis::cmd("SADD").arg(set).arg(&id).exec(&mut connection).map_err(failed)?;
                }
                record[name] = value;
                redis::cmd("SET").arg(&at).arg(record.to_string()).exec(&mut connection).map_err(failed)?;
            }
        }
        Ok(true)
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let server = Server::start(&[]);
    let subject = Arc::new(OneServer { port: server.port, stores: AtomicUsize::new(0) });
    let capabilities =
        subject.fresh().and_then(|store| Ok(store.open()?.capabilities())).unwrap_or_else(|e| panic!("redis: {e}"));
    let mut trials: Vec<Trial> = applicable(capabilities)
        .into_iter()
        .map(|case| {
            let subject = Arc::clone(&subject);
            Trial::ignorable_test(case.name, move || match case.run(subject.as_ref()) {
                Ok(()) => Ok(Completion::Completed),
                Err(Failure::Skipped(why)) => Ok(Completion::ignored_with(why)),
                Err(failure) => Err(format!("{}\n{failure}", case.sentence).into()),
            })
        })
        .collect();
    trials.push(Trial::test("model", move || {
        model_test(subject.as_ref(), SEQUENCES, 0x68_6976_656d).map_err(|failure| failure.to_string().into())
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(server);
    conclusion.exit();
}
