//! Pages of lists: what a client asks for and the envelopes of the replies.

use serde::{Deserialize, Serialize};

use crate::error::ValidationItem;

/// Which page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// From 1.
    pub page: u32,
    /// Items per page, from 1.
    pub page_size: u32,
}

impl PageRequest {
    /// The page asked for by the query `?page&page_size`, each a whole number if given. A size above
    /// `max` is refused as the reference does, so that no client takes a part for the whole.
    pub fn from_query(
        page: Option<&str>,
        page_size: Option<&str>,
        default_size: u32,
        max: u32,
    ) -> Result<Self, ValidationItem> {
        let page = query_number("page", page, 1, u32::MAX)?.unwrap_or(1);
        let page_size = query_number("page_size", page_size, 1, max)?.unwrap_or(default_size);
        Ok(Self { page, page_size })
    }

    /// How many items come before this page.
    pub fn offset(self) -> u64 {
        u64::from(self.page.saturating_sub(1)) * u64::from(self.page_size)
    }

    /// The part of a whole list that is on this page.
    pub fn slice<T>(self, all: &[T]) -> &[T] {
        let start = usize::try_from(self.offset()).unwrap_or(usize::MAX).min(all.len());
        let size = usize::try_from(self.page_size).unwrap_or(usize::MAX);
        &all[start..start.saturating_add(size).min(all.len())]
    }

    /// Number of pages that `total` items fill; none for an empty list.
    pub fn pages(self, total: u64) -> u64 {
        total.div_ceil(u64::from(self.page_size.max(1)))
    }
}

/// A whole number of the query string within bounds; `None` if it is missing or empty.
pub fn query_number(
    name: &str,
    text: Option<&str>,
    min: u32,
    max: u32,
) -> Result<Option<u32>, ValidationItem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let item = |kind: &str, msg: String| ValidationItem::at(&["query", name], kind, &msg, text);
    let number: i64 = text.parse().map_err(|_| {
        item("int_parsing", "Input should be a valid integer, unable to parse string".to_owned())
    })?;
    match u32::try_from(number) {
        Ok(number) if number < min => Err(item(
            "greater_than_equal",
            format!("Input should be greater than or equal to {min}"),
        )),
        Ok(number) if number <= max => Ok(Some(number)),
        Err(_) if number < 0 => Err(item(
            "greater_than_equal",
            format!("Input should be greater than or equal to {min}"),
        )),
        _ => Err(item("less_than_equal", format!("Input should be less than or equal to {max}"))),
    }
}

/// A page of a list; all five fields are required by clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Page<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// Number of items of all pages.
    pub total: u64,
    /// This page, from 1.
    pub page: u32,
    /// Items per page as asked for.
    pub page_size: u32,
    /// Number of pages.
    pub pages: u64,
}

impl<T> Page<T> {
    /// The page with these items, of `total` in all.
    pub fn new(items: Vec<T>, total: u64, request: PageRequest) -> Self {
        let PageRequest { page, page_size } = request;
        Self { items, total, page, page_size, pages: request.pages(total) }
    }

    /// The same page with other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        let Self { items, total, page, page_size, pages } = self;
        Page { items: items.into_iter().map(f).collect(), total, page, page_size, pages }
    }
}

/// A part of a list that goes on behind a cursor (`/workspaces`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CursorPage<T> {
    /// The items.
    pub data: Vec<T>,
    /// Where it goes on.
    pub pagination: Cursor,
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cursor {
    /// Whether there is more.
    pub has_more: bool,
    /// `cursor` of the next request; `null` at the end.
    pub next_cursor: Option<String>,
    /// Number of items of the whole list, `null` if not counted.
    pub total: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_query() {
        let ask = |page, size| PageRequest::from_query(page, size, 30, 100);
        assert_eq!(ask(None, None), Ok(PageRequest { page: 1, page_size: 30 }));
        assert_eq!(ask(Some("3"), Some("100")), Ok(PageRequest { page: 3, page_size: 100 }));
        for (page, size, kind) in [
            (Some("0"), None, "greater_than_equal"),
            (Some("-1"), None, "greater_than_equal"),
            (None, Some("101"), "less_than_equal"),
            (None, Some("99999999999"), "less_than_equal"),
            (Some("x"), None, "int_parsing"),
        ] {
            assert_eq!(ask(page, size).unwrap_err().kind, kind);
        }
    }

    #[test]
    fn slices_stay_within_the_list() {
        let all: Vec<u8> = (0..5).collect();
        let page = |page| PageRequest { page, page_size: 2 };
        assert_eq!(page(1).slice(&all), [0, 1]);
        assert_eq!(page(3).slice(&all), [4]);
        assert!(page(u32::MAX).slice(&all).is_empty());
        assert_eq!(page(1).pages(5), 3);
        assert_eq!(page(1).pages(0), 0);
    }
}
