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

/// Where a page begins: at its number, or behind what a cursor names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeekRequest {
    /// Which page. Behind a cursor its number is how far the client has come.
    pub request: PageRequest,
    /// What it begins behind.
    pub after: Option<After>,
}

/// What a cursor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// Key of the last item of the page before, in the words of the list that gave the cursor.
    pub key: String,
    /// The cursor as it was sent.
    pub cursor: String,
}

impl SeekRequest {
    /// The page asked for by `?page&page_size&cursor`. A cursor says itself which page it begins, so it
    /// goes without `page`.
    pub fn from_query(
        page: Option<&str>,
        page_size: Option<&str>,
        cursor: Option<&str>,
        default_size: u32,
        max: u32,
    ) -> Result<Self, ValidationItem> {
        let mut request = PageRequest::from_query(page, page_size, default_size, max)?;
        let Some(cursor) = cursor.filter(|text| !text.is_empty()) else {
            return Ok(Self { request, after: None });
        };
        if page.is_some_and(|text| !text.is_empty()) {
            let why = "Input should be left out where a page number is given";
            return Err(ValidationItem::at(&["query", "cursor"], "value_error", why, cursor));
        }
        let (page, key) = read_cursor(cursor).ok_or_else(|| bad_cursor(cursor))?;
        request.page = page;
        Ok(Self { request, after: Some(After { key, cursor: cursor.to_owned() }) })
    }

    /// `next_cursor` of a page that ends with the item of this key.
    pub fn next_cursor(&self, last: &str) -> String {
        hex::encode(format!("{}/{last}", self.request.page.saturating_add(1)))
    }
}

/// The refusal of a cursor that this list did not give.
pub fn bad_cursor(cursor: &str) -> ValidationItem {
    let why = "Input should be next_cursor of an earlier page of the same list";
    ValidationItem::at(&["query", "cursor"], "value_error", why, cursor)
}

fn read_cursor(text: &str) -> Option<(u32, String)> {
    let bytes = hex::decode(text).ok()?;
    let (page, after) = str::from_utf8(&bytes).ok()?.split_once('/')?;
    Some((page.parse().ok().filter(|page| *page > 0)?, after.to_owned()))
}

/// A truth value of the query string, in the words that the reference takes; `None` if it is missing or
/// empty.
pub fn query_flag(name: &str, text: Option<&str>) -> Result<Option<bool>, ValidationItem> {
    const YES: [&str; 6] = ["true", "1", "yes", "on", "t", "y"];
    const NO: [&str; 6] = ["false", "0", "no", "off", "f", "n"];
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let among = |words: [&str; 6]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match (among(YES), among(NO)) {
        (true, _) => Ok(Some(true)),
        (_, true) => Ok(Some(false)),
        _ => Err(ValidationItem::at(
            &["query", name],
            "bool_parsing",
            "Input should be a valid boolean, unable to interpret input",
            text,
        )),
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
    fn a_cursor_leads_on_from_where_it_was_given() {
        let ask = |page, cursor| SeekRequest::from_query(page, Some("5"), cursor, 30, 100);
        let first = ask(Some("3"), None).unwrap();
        assert_eq!(first.after, None);
        let cursor = first.next_cursor("17/x");
        let next = ask(None, Some(&cursor)).unwrap();
        assert_eq!(next.after, Some(After { key: "17/x".to_owned(), cursor: cursor.clone() }));
        assert_eq!(next.request, PageRequest { page: 4, page_size: 5 });
        assert_eq!(ask(Some(""), Some("")).unwrap().request.page, 1);
        assert_eq!(ask(Some("1"), Some(&cursor)).unwrap_err().loc, ["query", "cursor"]);
        let forged = ["zz", "00", "ff", "30", &hex::encode("0/1"), &hex::encode("-1/1"), "\u{fc}"];
        for cursor in forged {
            assert_eq!(ask(None, Some(cursor)).unwrap_err(), bad_cursor(cursor), "{cursor}");
        }
    }

    #[test]
    fn flags_are_the_words_of_the_reference() {
        for (text, flag) in
            [("true", true), ("YES", true), ("1", true), ("Off", false), ("n", false)]
        {
            assert_eq!(query_flag("listed", Some(text)), Ok(Some(flag)), "{text}");
        }
        assert_eq!(query_flag("listed", Some("")), Ok(None));
        assert_eq!(query_flag("listed", None), Ok(None));
        for text in ["2", "ja", " true", "null"] {
            assert_eq!(
                query_flag("listed", Some(text)).unwrap_err().kind,
                "bool_parsing",
                "{text}"
            );
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
