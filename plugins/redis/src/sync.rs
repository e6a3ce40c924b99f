//! What is kept beside the records, compared with them: sets of ids, documents, counters.
//!
//! One walk serves both who only wants to know ([`verify`]) and who wants it right ([`repair`]). It goes in two directions: from every record to
//! what must name it, and then from everything that names a record back to that. What is missing is added in the first, what is wrong is
//! removed in the second, and each only if the record is still what was read. So there is no moment in which a lookup misses a record, and
//! others may write meanwhile.

mod counters;
mod winners;

use hivemind_abi::model::{Collection, Error, Index, Key, Problem, Report, Result, Row, eval, record};
use redis::{Cmd, Value, cmd};

use crate::commit::{Committed, Committer};
use crate::keys::{member, parse_member, pattern, shown};
use crate::link::{pairs, text};
use crate::plan::{Check, Plan, Write};
use crate::read::{self, Members};
use crate::record::{Raw, Stored};
use crate::space::Space;
use winners::Winners;

/// Records that are looked at together.
const PORTION: usize = 500;
/// How often a portion is looked at again because somebody wrote in it.
const TRIES: usize = 20;

/// What was found, and repaired if that was asked for.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) records: u64,
    pub(crate) missing: u64,
    pub(crate) stale: u64,
    pub(crate) documents: u64,
    pub(crate) counters: u64,
    pub(crate) problems: Vec<Problem>,
}

/// Compares a collection's records with what is kept beside them, and says what is wrong.
///
/// # Errors
/// The link's.
pub(crate) fn verify(committer: &Committer<'_>, space: &Space) -> Result<Findings> {
    Walk { committer, space, repair: false, found: Findings::default() }.run()
}

/// The same, and makes it right.
///
/// # Errors
/// The link's, and those of writing.
pub(crate) fn repair(committer: &Committer<'_>, space: &Space) -> Result<Findings> {
    Walk { committer, space, repair: true, found: Findings::default() }.run()
}

impl Findings {
    /// Adds them to a report.
    pub(crate) fn add_to(self, report: &mut Totals) {
        report.records += self.records;
        report.missing += self.missing;
        report.stale += self.stale;
        report.documents += self.documents;
        report.counters += self.counters;
        report.problems.extend(self.problems);
    }
}

/// The findings of several collections.
pub(crate) type Totals = Findings;

impl Totals {
    /// As a report; `done` says whether what was found was also repaired.
    pub(crate) fn into_report(self, done: bool) -> Report {
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let report = Report::new().with("records", count(self.records));
        let mut report = match done {
            true => report
                .with("index_entries_added", count(self.missing))
                .with("index_entries_removed", count(self.stale))
                .with("documents_rewritten", count(self.documents))
                .with("counters_corrected", count(self.counters)),
            false => report,
        };
        report.problems = self.problems;
        report
    }
}

struct Walk<'w> {
    committer: &'w Committer<'w>,
    space: &'w Space,
    repair: bool,
    found: Findings,
}

impl Walk<'_> {
    fn run(mut self) -> Result<Findings> {
        let keys = self.keys()?;
        self.found.records = keys.len() as u64;
        let mut winners = Winners::new();
        for portion in keys.chunks(PORTION) {
            self.check_records(portion, &mut winners)?;
        }
        drop(winners);
        let prefixes: Vec<String> = self.space.keys.set_prefixes().map(|(_, prefix)| prefix.to_owned()).collect();
        for prefix in prefixes {
            self.each_key(&prefix, |walk, portion| walk.check_sets(portion))?;
        }
        if let Some((documents, admissions)) = self.space.keys.document_prefixes() {
            let (documents, admissions) = (documents.to_owned(), admissions.to_owned());
            self.each_key(&documents, |walk, portion| walk.check_documents(portion, &documents))?;
            self.each_key(&admissions, Self::check_admissions)?;
        }
        self.counters(keys)?;
        self.found.problems.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(self.found)
    }

    fn collection(&self) -> &Collection {
        &self.space.collection
    }

    fn problem(&mut self, key: Option<&Key>, message: String) {
        let collection = self.space.collection.name.clone();
        self.found.problems.push(Problem { collection, key: key.cloned(), message });
    }

    /// One with what is kept beside the records: no record is lost by it, so it is none of the collection's.
    fn problem_beside(&mut self, key: Option<&Key>, message: String) {
        match key {
            Some(key) => self.problem(Some(key), message),
            None => self.found.problems.push(Problem { collection: String::new(), key: None, message }),
        }
    }

    /// The keys of all records. What only looks like one is a problem.
    fn keys(&mut self) -> Result<Vec<Key>> {
        let (mut keys, mut strays) = (Vec::new(), Vec::new());
        let space = self.space;
        self.committer.link.scan(self.committer.cx, &space.keys.record_pattern(), |portion| {
            for key in portion {
                match space.keys.parse_record(&space.collection, &key) {
                    Some(key) => keys.push(key),
                    None => strays.push(String::from_utf8_lossy(&key).into_owned()),
                }
            }
            Ok(())
        })?;
        keys.sort_unstable();
        keys.dedup();
        strays.sort_unstable();
        strays.dedup();
        for key in strays {
            self.problem(None, format!("{key} stands where records are, and is the key of none; look at it and remove it"));
        }
        Ok(keys)
    }

    /// Every key with this prefix, in portions.
    fn each_key(&mut self, prefix: &str, mut each: impl FnMut(&mut Self, &[Vec<u8>]) -> Result<()>) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        link.scan(cx, &pattern(prefix), |portion| portion.chunks(PORTION).try_for_each(|keys| each(self, keys)))
    }

    /// Repairs by a plan; `false` if somebody wrote meanwhile and it must be looked at again.
    fn carry_out(&self, plan: Plan) -> Result<bool> {
        Ok(plan.writes.is_empty() || self.committer.carry_out(plan)? == Committed::Done)
    }

    /// From records to what must name them.
    fn check_records(&mut self, keys: &[Key], winners: &mut Winners) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        for attempt in 1.. {
            cx.check()?;
            let raws = read::records(cx, link, self.space, keys)?;
            let records: Vec<(&Key, Raw, Stored)> =
                keys.iter().zip(raws).map(|(key, raw)| (key, raw.clone(), raw.read(&self.space.form, key))).collect();
            let (plan, findings) = self.compare(&records)?;
            if self.repair && !self.carry_out(plan)? {
                if attempt == TRIES {
                    return Err(Error::busy("others write so often that the indexes cannot be repaired; try again"));
                }
                continue;
            }
            self.found.missing += findings.missing;
            self.found.documents += findings.documents;
            if !self.repair {
                self.found.problems.extend(findings.problems);
            }
            for (key, _, stored) in &records {
                self.judge(key, stored, winners)?;
            }
            return Ok(());
        }
        Ok(())
    }

    /// What is missing of these records, and the plan that adds it.
    fn compare(&self, records: &[(&Key, Raw, Stored)]) -> Result<(Plan, Findings)> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        let mut questions: Vec<Cmd> = Vec::new();
        let mut rows: Vec<(&Key, &Raw, &Row)> = Vec::new();
        for (key, raw, stored) in records {
            let Stored::Row(row) = stored else { continue };
            let view = row.view(self.collection())?;
            for set in self.space.keys.sets_of(&view) {
                questions.push(cmd("SISMEMBER").arg(set).arg(member(key)).to_owned());
            }
            if let Some((document, ..)) = self.space.keys.document(key, &view) {
                questions.push(cmd("HGETALL").arg(document).to_owned());
            }
            rows.push((key, raw, row));
        }
        let mut answers = read::trips(cx, link, questions)?.into_iter();
        let (mut plan, mut findings) = (Plan::default(), Findings::default());
        for (key, raw, row) in rows {
            let view = row.view(self.collection())?;
            let before = plan.writes.len();
            let problem =
                |message: String| Problem { collection: self.collection().name.clone(), key: Some(key.clone()), message };
            for set in self.space.keys.sets_of(&view) {
                match answers.next() {
                    Some(Value::Int(1)) => {}
                    Some(Value::ServerError(_)) => {
                        findings.problems.push(problem(format!("{}: expected a set of ids, found another type", shown(&set))));
                    }
                    _ => {
                        findings.missing += 1;
                        findings.problems.push(problem(format!("it is not in its set {}; sync adds it", shown(&set))));
                        plan.write(set, Write::Add(member(key)));
                    }
                }
            }
            if let Some((document, name, api_key)) = self.space.keys.document(key, &view) {
                let answer = answers.next();
                if !answer.as_ref().is_some_and(|answer| is_document(answer, name, api_key)) {
                    findings.documents += 1;
                    findings.problems.push(problem("its search document is missing or wrong; sync writes it".to_owned()));
                    plan.write(document.clone(), Write::Delete);
                    plan.write(document, Write::Document(name.to_owned(), api_key.to_owned()));
                }
            }
            if let (true, Raw::Text(text)) = (plan.writes.len() > before, raw) {
                plan.check(self.space.keys.record(key), Check::Is(text.clone()));
            }
        }
        Ok((plan, findings))
    }

    /// Whether a record can be read and has its unique values for itself.
    fn judge(&mut self, key: &Key, stored: &Stored, winners: &mut Winners) -> Result<()> {
        let collection = std::sync::Arc::clone(&self.space.collection);
        if let Stored::Unreadable { why, .. } = stored {
            self.problem(Some(key), format!("unreadable: {why}"));
        }
        for (at, field) in collection.fields.iter().enumerate() {
            let Index::Unique { except } = &field.index else { continue };
            let value = match stored {
                Stored::Row(row) => row.view(&collection)?.at(at).to_value(),
                Stored::Unreadable { values: Some(values), .. } => {
                    let known = values.iter().find(|(field, _)| *field == at);
                    known.map(|(_, value)| value.clone()).unwrap_or(hivemind_abi::model::Value::Nil)
                }
                _ => continue,
            };
            let value = value.as_ref();
            if value.is_nil() || except.iter().any(|excepted| eval::same(excepted.as_ref(), value)) {
                continue;
            }
            if let Some(winner) = winners.other(at, value, key) {
                self.problem(Some(key), format!("{} is the same as that of {winner}, which wins", field.name));
            }
        }
        Ok(())
    }

    /// From sets to the records that they name.
    fn check_sets(&mut self, sets: &[Vec<u8>]) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        for set in sets {
            for attempt in 1.. {
                cx.check()?;
                let ids = match read::ask(cx, link, &[], std::slice::from_ref(set))?.sets.pop() {
                    Some(Members::Ids(ids)) => ids,
                    Some(Members::OtherType) => {
                        self.problem_beside(
                            None,
                            format!("{}: expected a set of ids, found another type; remove it and run sync", shown(set)),
                        );
                        break;
                    }
                    None => break,
                };
                let (plan, stale) = self.stale(set, &ids)?;
                if self.repair && !self.carry_out(plan)? {
                    if attempt == TRIES {
                        return Err(Error::busy("others write so often that the indexes cannot be repaired; try again"));
                    }
                    continue;
                }
                self.found.stale += stale.len() as u64;
                let reported = if self.repair { Vec::new() } else { stale };
                for id in reported {
                    let key = parse_member(self.collection(), &id);
                    let id = String::from_utf8_lossy(&id).into_owned();
                    self.problem_beside(
                        key.as_ref(),
                        format!("{} names {id}, which does not belong there; sync removes it", shown(set)),
                    );
                }
                break;
            }
        }
        Ok(())
    }

    /// The ids that do not belong in a set, and the plan that removes them.
    fn stale(&self, set: &[u8], ids: &[Vec<u8>]) -> Result<(Plan, Vec<Vec<u8>>)> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        let (mut plan, mut stale) = (Plan::default(), Vec::new());
        let keys: Vec<(Key, &Vec<u8>)> =
            ids.iter().filter_map(|id| parse_member(self.collection(), id).map(|key| (key, id))).collect();
        for id in ids.iter().filter(|id| parse_member(self.collection(), id).is_none()) {
            plan.write(set.to_vec(), Write::Remove(id.clone()));
            stale.push(id.clone());
        }
        for portion in keys.chunks(PORTION) {
            let only: Vec<Key> = portion.iter().map(|(key, _)| key.clone()).collect();
            for ((key, id), raw) in portion.iter().zip(read::records(cx, link, self.space, &only)?) {
                let belongs = match raw.read(&self.space.form, key) {
                    Stored::Row(row) => self.space.keys.sets_of(&row.view(self.collection())?).iter().any(|own| own == set),
                    // What it would say is not known, and its values are taken.
                    Stored::Unreadable { .. } => true,
                    Stored::Absent | Stored::Creating => false,
                };
                if belongs {
                    continue;
                }
                let check = match raw {
                    Raw::Text(text) => Check::Is(text),
                    _ => Check::Absent,
                };
                plan.check(self.space.keys.record(key), check);
                plan.write(set.to_vec(), Write::Remove((*id).clone()));
                stale.push((*id).clone());
            }
        }
        Ok((plan, stale))
    }

    /// From documents to the records that they are of.
    fn check_documents(&mut self, documents: &[Vec<u8>], prefix: &str) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        for document in documents {
            let key = document.strip_prefix(prefix.as_bytes()).and_then(|id| parse_member(self.collection(), id));
            let raw = match &key {
                Some(key) => read::records(cx, link, self.space, std::slice::from_ref(key))?.pop().unwrap_or(Raw::Absent),
                None => Raw::Absent,
            };
            if raw != Raw::Absent {
                continue;
            }
            if self.repair {
                let mut plan = Plan::default();
                key.iter().for_each(|key| plan.check(self.space.keys.record(key), Check::Absent));
                plan.write(document.clone(), Write::Delete);
                self.carry_out(plan)?;
            } else {
                let message =
                    format!("{} is the search document of no record; sync removes it", String::from_utf8_lossy(document));
                self.problem_beside(key.as_ref(), message);
            }
            self.found.documents += 1;
        }
        Ok(())
    }

    /// What other nodes remember of clients: removed by a repair, as the Python node's does, because they fetch it again.
    fn check_admissions(&mut self, admissions: &[Vec<u8>]) -> Result<()> {
        let (cx, link) = (self.committer.cx, self.committer.link);
        if self.repair {
            let mut plan = Plan::default();
            admissions.iter().for_each(|key| plan.write(key.clone(), Write::Delete));
            return self.carry_out(plan).map(drop);
        }
        let remembered = read::ask(cx, link, admissions, &[])?.strings;
        for raw in remembered {
            let Raw::Text(text) = &raw else { continue };
            let row = std::str::from_utf8(text).ok().and_then(|text| record::from_json(self.collection(), text).ok());
            let Some(row) = row else { continue };
            let view = row.view(self.collection())?;
            let key = view.key().to_key();
            let stored = read::get(cx, link, self.space, &key).ok().flatten();
            let is_same = match &stored {
                Some(stored) => eval::same_rows(&view, &stored.view(self.collection())?),
                None => false,
            };
            if !is_same {
                let message = "other nodes remember it as it was; that expires, and sync removes it at once".to_owned();
                self.problem(Some(&key), message);
            }
        }
        Ok(())
    }
}

fn is_document(answer: &Value, name: &str, api_key: &str) -> bool {
    let Some(pairs) = pairs(answer) else { return false };
    let has = |field: &str, value: &str| pairs.iter().any(|(f, v)| text(f) == Some(field) && text(v) == Some(value));
    pairs.len() == 2 && has("name", name) && has("api_key", api_key)
}
