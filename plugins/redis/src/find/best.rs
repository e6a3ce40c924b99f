//! The first records of a query in another order than the keys'.

use hivemind_abi::model::{Collection, Query, Result, Row, RowView, eval};

/// Matches that are kept at least before the worst are dropped, by number and by bytes.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 8 << 20;

/// The records of a query in its order that its page can take, and one more.
pub(super) struct Best<'q> {
    query: &'q Query,
    max_bytes: usize,
    rows: Vec<Row>,
    bytes: usize,
    /// When to drop the worst next.
    limit: (usize, usize),
}

impl<'q> Best<'q> {
    pub(super) fn new(query: &'q Query, max_bytes: usize) -> Self {
        Self { query, max_bytes, rows: Vec::new(), bytes: 0, limit: (KEPT, KEPT_BYTES) }
    }

    pub(super) fn offer(&mut self, collection: &Collection, row: Row) -> Result<()> {
        self.bytes = self.bytes.saturating_add(row.as_bytes().len());
        self.rows.push(row);
        if self.rows.len() > self.limit.0 || self.bytes > self.limit.1 {
            self.sort(collection)?;
            self.limit = (KEPT.max(2 * self.rows.len()), KEPT_BYTES.max(self.bytes.saturating_mul(2)));
        }
        Ok(())
    }

    fn sort(&mut self, collection: &Collection) -> Result<()> {
        let mut rows: Vec<(RowView<'_>, &Row)> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            rows.push((row.view(collection)?, row));
        }
        rows.sort_by(|(a, _), (b, _)| eval::compare_rows(&self.query.order, a, b));
        let skipped = if self.query.after.is_some() { 0 } else { usize::try_from(self.query.offset).unwrap_or(usize::MAX) };
        let limit = self.query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        // One more than the page takes, so that it is seen that something is left.
        let mut most = skipped.saturating_add(limit).saturating_add(1);
        let mut bytes: usize = 0;
        for (at, (_, row)) in rows.iter().enumerate().skip(skipped) {
            bytes = bytes.saturating_add(row.as_bytes().len());
            if bytes > self.max_bytes && at > skipped {
                most = most.min(at + 1);
                break;
            }
        }
        let kept: Vec<Row> = rows.into_iter().take(most).map(|(_, row)| row.clone()).collect();
        self.bytes = kept.iter().map(|row| row.as_bytes().len()).sum();
        self.rows = kept;
        Ok(())
    }

    pub(super) fn into_sorted(mut self, collection: &Collection) -> Result<Vec<Row>> {
        self.sort(collection)?;
        Ok(self.rows)
    }
}
