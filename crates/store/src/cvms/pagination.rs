//! Pagination. A page after an item is found by that item's key. A page with a number is counted off from the
//! nearer end of the list, over an index that has only the keys. Rows are read only for the page.

/// Where a page begins. `K` is the sort key of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageStart<K> {
    /// After this many items; a negative number counts as 0.
    Skip(i64),
    /// After the item with this key, which may no longer exist.
    After(K),
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPage<T, K> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// Length of the whole list.
    pub total: i64,
    /// Key of the last item of this page, if another page follows.
    pub next: Option<K>,
}

impl<T, K> ListPage<T, K> {
    pub const fn nothing() -> Self {
        Self { items: Vec::new(), total: 0, next: None }
    }
}

/// How the keys of a page are read from an index. The index is in ascending order; lists are in descending
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IndexScan<K> {
    /// Descending from the newest.
    Down { skip: i64, take: i64 },
    /// Descending from after this key.
    DownFrom { after: K, take: i64 },
    /// Ascending from the oldest; the result must be reversed.
    Up { skip: i64, take: i64 },
    /// The page is empty.
    Nowhere,
}

impl<K> IndexScan<K> {
    /// The shorter scan for a page of at most `limit` items in a list of `total`. If needed, it reads one key
    /// more than the page to know whether another page follows.
    pub(super) fn new(seek: PageStart<K>, limit: i64, total: i64) -> Self {
        let skip = match seek {
            _ if limit <= 0 => return Self::Nowhere,
            PageStart::After(after) => {
                return Self::DownFrom { after, take: limit.saturating_add(1) };
            }
            PageStart::Skip(skip) => skip.max(0),
        };
        let left = total.saturating_sub(skip);
        if left <= 0 {
            return Self::Nowhere;
        }
        let below = left.saturating_sub(limit);
        if below < skip {
            Self::Up { skip: below.max(0), take: left.min(limit) }
        } else {
            Self::Down { skip, take: limit }
        }
    }

    /// `ORDER BY` these key columns, and the `LIMIT`; `take` and `skip` are parameter numbers.
    pub(super) fn order(&self, key: &[&str], take: u8, skip: u8) -> String {
        let way = if matches!(self, Self::Up { .. }) { "" } else { " DESC" };
        let columns: Vec<String> = key.iter().map(|column| format!("{column}{way}")).collect();
        format!(" ORDER BY {} LIMIT ${take} OFFSET ${skip}", columns.join(", "))
    }

    pub(super) const fn take(&self) -> i64 {
        match self {
            Self::Down { take, .. } | Self::DownFrom { take, .. } | Self::Up { take, .. } => *take,
            Self::Nowhere => 0,
        }
    }

    pub(super) const fn skip(&self) -> i64 {
        match self {
            Self::Down { skip, .. } | Self::Up { skip, .. } => *skip,
            Self::DownFrom { .. } | Self::Nowhere => 0,
        }
    }

    /// The keys of the page in list order, and whether another page follows.
    pub(super) fn page<T>(&self, mut read: Vec<T>, limit: i64, total: i64) -> (Vec<T>, bool) {
        let long = usize::try_from(limit).unwrap_or(0);
        let more = match self {
            Self::Nowhere => false,
            Self::Up { skip, .. } => {
                read.reverse();
                *skip > 0
            }
            Self::Down { skip, take } => skip.saturating_add(*take) < total,
            Self::DownFrom { .. } => read.len() > long,
        };
        read.truncate(long);
        (read, more)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a list with the keys `total-1, …, 0`, as a database would.
    fn read(total: i64, seek: PageStart<i64>, limit: i64) -> (Vec<i64>, bool, i64) {
        let walk = IndexScan::new(seek, limit, total);
        let all: Vec<i64> = match walk {
            IndexScan::Up { .. } => (0..total).collect(),
            IndexScan::DownFrom { after, .. } => (0..total.min(after)).rev().collect(),
            IndexScan::Down { .. } | IndexScan::Nowhere => (0..total).rev().collect(),
        };
        let (skip, take) = (walk.skip(), walk.take());
        let part: Vec<i64> = all
            .into_iter()
            .skip(usize::try_from(skip).unwrap())
            .take(usize::try_from(take).unwrap())
            .collect();
        let (keys, more) = walk.page(part, limit, total);
        (keys, more, skip)
    }

    proptest! {
        /// For any page size, pages contain every item once and in order, and the last one has no next page.
        #[test]
        fn pages_make_the_whole(total in 0_i64..400, limit in 1_i64..130) {
            let whole: Vec<i64> = (0..total).rev().collect();
            let (mut by_number, mut by_key) = (Vec::new(), Vec::new());
            let mut after = None;
            for page in 0..=total / limit {
                let (keys, more, skipped) = read(total, PageStart::Skip(page * limit), limit);
                prop_assert!(skipped <= total / 2, "{skipped} of {total} are skipped");
                by_number.extend(keys);
                prop_assert_eq!(more, (page + 1) * limit < total);
            }
            loop {
                let seek = after.map_or(PageStart::Skip(0), PageStart::After);
                let (keys, more, _) = read(total, seek, limit);
                after = keys.last().copied();
                by_key.extend(keys);
                if !more { break; }
            }
            prop_assert_eq!(&by_number, &whole);
            prop_assert_eq!(&by_key, &whole);
        }
    }

    #[test]
    fn what_is_no_page_reads_nothing() {
        for (seek, limit, total) in [
            (PageStart::Skip(0), 0, 9),
            (PageStart::Skip(9), 5, 9),
            (PageStart::Skip(i64::MAX), i64::MAX, 9),
        ] {
            assert_eq!(IndexScan::<i64>::new(seek, limit, total), IndexScan::Nowhere);
        }
        assert_eq!(IndexScan::new(PageStart::After(3), -1, 9), IndexScan::<i64>::Nowhere);
        assert_eq!(read(9, PageStart::Skip(-1), 5).0, [8, 7, 6, 5, 4]);
    }
}
