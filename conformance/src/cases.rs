//! The cases, by theme. In each file the table at its top is the list of behaviours, and each function under it tests one.

mod batch;
pub(crate) mod changes;
mod context;
mod ids;
mod keeping;
mod lifecycle;
mod malformed;
mod members;
mod mutate;
mod narrow;
mod negative;
mod operators;
mod order;
mod paging;
mod prepare;
mod races;
mod read;
mod scale;
mod shared;
mod specimens;
mod unique;
mod unreadable;
mod values;

use crate::case::Case;

/// Every case, theme by theme.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    let themes: [&'static [Case]; 21] = [
        prepare::CASES,
        read::CASES,
        mutate::CASES,
        narrow::CASES,
        ids::CASES,
        batch::CASES,
        unique::CASES,
        values::CASES,
        operators::CASES,
        members::CASES,
        order::CASES,
        paging::CASES,
        malformed::CASES,
        context::CASES,
        races::CASES,
        changes::CASES,
        shared::CASES,
        unreadable::CASES,
        lifecycle::CASES,
        keeping::CASES,
        negative::CASES,
    ];
    themes.into_iter().chain([scale::CASES]).flatten()
}
