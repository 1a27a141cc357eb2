//! Memory of a session, laid out before any is asked for.

/// Part of a session's memory, counted in units of 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub(super) start: usize,
    len: usize,
}

impl Span {
    pub fn part(self, start: usize, len: usize) -> Span {
        assert!(start + len <= self.len, "{start} + {len} of {}", self.len);
        Span { start: self.start + start, len }
    }

    /// All but what comes before `start`.
    pub fn from(self, start: usize) -> Span {
        self.part(start, self.len - start)
    }

    pub fn len(self) -> usize {
        self.len
    }

    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// Lays out the memory of a session before it is asked for: all of it in one piece, at addresses that stay.
#[derive(Debug, Default)]
pub struct Plan {
    /// Floats, so far.
    pub(super) used: usize,
    /// In debug builds, what lies between spans: no kernel may write there, and what is read there is no number.
    pub(super) gaps: Vec<Span>,
}

impl Plan {
    /// Spans begin at multiples of this, which suits every type.
    const ALIGN: usize = 64;

    /// Room for so many floats or 32-bit integers.
    pub fn floats(&mut self, len: usize) -> Span {
        let (start, least_gap) = (self.used, if cfg!(debug_assertions) { Self::ALIGN } else { 0 });
        let end = start.saturating_add(len);
        self.used = end.saturating_add(least_gap + Self::ALIGN - 1) / Self::ALIGN * Self::ALIGN;
        if least_gap > 0 {
            self.gaps.push(Span { start: end, len: self.used.saturating_sub(end) });
        }
        Span { start, len }
    }

    pub fn bytes(&self) -> usize {
        self.used.saturating_mul(4)
    }

    pub fn doubles(&mut self, len: usize) -> Span {
        self.floats(2 * len)
    }
}

/// How many rows a batch has: a number that kernels read from the device, and the most that it can be.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    pub count: Span,
    pub most: usize,
}
