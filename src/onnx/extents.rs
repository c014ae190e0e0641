//! Extents that a run chooses, as ONNX computes with them: read off the shapes of inputs.

use super::emitter::{Emitter, Once};
use super::proto::AttributeProto;
use crate::graph::{Dim, Symbol};

/// Behind the last place of an axis, however long it is.
const TO_THE_END: i64 = i64::MAX;

impl Emitter<'_> {
    /// An extent as a list of one 64-bit integer.
    pub(super) fn extent(&mut self, dim: Dim) -> Result<String, String> {
        let (symbol, mul, div, add) = match dim {
            Dim::Fixed(n) => return Ok(self.i64s(&[n as i64])),
            Dim::Scaled { symbol, mul, div, add } => (symbol, mul, div, add),
        };
        self.try_once(Once::Extent(dim), |e| {
            if let Some(found) = e.read_off(|d| d == dim) {
                return Ok(found.0);
            }
            let bare = if dim == Dim::of(symbol) { e.bare(symbol)? } else { e.extent(Dim::of(symbol))? };
            Ok(e.scaled(bare, mul, div, add))
        })
    }

    /// A symbol, from an extent that is made from it.
    fn bare(&mut self, symbol: Symbol) -> Result<String, String> {
        let is_of = |d: Dim| matches!(d, Dim::Scaled { symbol: s, .. } if s == symbol);
        let (value, Dim::Scaled { mul, div, add, .. }) = self.read_off(is_of).ok_or_else(|| {
            let name = &self.graph.dims[usize::from(symbol.0)].name;
            format!("extent `{name}` is in no input's shape, and nothing else tells it in ONNX")
        })?
        else {
            unreachable!("asked for a scaled one")
        };
        let add = self.i64s(&[-(add as i64)]);
        let value = self.add("Add", &[value, add], vec![]);
        Ok(self.scaled(value, div, mul, 0))
    }

    /// `value * mul / div + add`.
    fn scaled(&mut self, value: String, mul: usize, div: usize, add: usize) -> String {
        [("Mul", mul, 1), ("Div", div, 1), ("Add", add, 0)].into_iter().fold(
            value,
            |value, (op, n, neutral)| {
                if n == neutral {
                    return value;
                }
                let n = self.i64s(&[n as i64]);
                self.add(op, &[value, n], vec![])
            },
        )
    }

    /// The first extent of an input that is wanted, with what it is.
    fn read_off(&mut self, wanted: impl Fn(Dim) -> bool) -> Option<(String, Dim)> {
        let interface = self.interface;
        let mut all = interface.inputs.iter().flat_map(|p| p.shape.iter().enumerate().map(move |d| (p, d)));
        let (port, (axis, dim)) = all.find(|(_, (_, dim))| wanted(**dim))?;
        let shape = self.once(Once::Shape(port.name.clone()), |e| e.add("Shape", &[&port.name], vec![]));
        let axis = self.i64s(&[axis as i64]);
        Some((self.add("Gather", &[shape, axis], vec![AttributeProto::int("axis", 0)]), *dim))
    }

    /// The same elements in another shape.
    pub(super) fn reshape(&mut self, x: &str, from: &[Dim], to: &[Dim]) -> Result<String, String> {
        // ONNX takes 0 for the extent that stands at the same axis, and -1 for one that follows from all others.
        let known = |i: usize| match to[i] {
            Dim::Fixed(n) => Some(n as i64),
            named => (from.get(i) == Some(&named)).then_some(0),
        };
        let unknown: Vec<usize> = (0..to.len()).filter(|i| known(*i).is_none()).collect();
        if unknown.len() < 2 {
            let shape: Vec<i64> = (0..to.len()).map(|i| known(i).unwrap_or(-1)).collect();
            return Ok(self.reshaped(x, &shape));
        }
        let parts: Vec<String> = to.iter().map(|dim| self.extent(*dim)).collect::<Result<_, _>>()?;
        let shape = self.add("Concat", &parts, vec![AttributeProto::int("axis", 0)]);
        Ok(self.add("Reshape", &[x, &shape], vec![]))
    }

    /// A reshape to extents that are known, but for one of -1.
    pub(super) fn reshaped(&mut self, x: &str, shape: &[i64]) -> String {
        let shape = self.i64s(shape);
        self.add("Reshape", &[x, &shape], vec![])
    }

    /// `len` places of an axis from `start` on.
    pub(super) fn slice(
        &mut self,
        x: &str,
        from: &[Dim],
        axis: usize,
        start: Dim,
        len: Dim,
    ) -> Result<String, String> {
        let (begin, end) = match (from[axis], start, len) {
            (_, Dim::Fixed(start), Dim::Fixed(len)) => {
                (self.i64s(&[start as i64]), self.i64s(&[(start + len) as i64]))
            }
            // The last places, however many there are before them.
            (whole, start, Dim::Fixed(len)) if start.plus(len) == whole => {
                (self.i64s(&[-(len as i64)]), self.i64s(&[TO_THE_END]))
            }
            (_, start, len) => {
                let (begin, len) = (self.extent(start)?, self.extent(len)?);
                let end = self.add("Add", &[&begin, &len], vec![]);
                (begin, end)
            }
        };
        Ok(self.cut(x, &begin, &end, axis))
    }

    /// The places of an axis from `begin` to before `end`, lists of one 64-bit integer each.
    fn cut(&mut self, x: &str, begin: &str, end: &str, axis: usize) -> String {
        let axis = self.i64s(&[axis as i64]);
        self.add("Slice", &[x, begin, end, &axis], vec![])
    }

    /// As [`slice`](Self::slice), of places that are known.
    pub(super) fn places(&mut self, x: &str, axis: usize, begin: usize, end: usize) -> String {
        let (begin, end) = (self.i64s(&[begin as i64]), self.i64s(&[end as i64]));
        self.cut(x, &begin, &end, axis)
    }

    /// The last row.
    pub(super) fn last_row(&mut self, x: &str) -> String {
        let (begin, end) = (self.i64s(&[-1]), self.i64s(&[TO_THE_END]));
        self.cut(x, &begin, &end, 0)
    }

    /// With axes of one place more.
    pub(super) fn unsqueezed(&mut self, x: &str, axes: &[i64]) -> String {
        let axes = self.i64s(axes);
        self.add("Unsqueeze", &[x, &axes], vec![])
    }

    /// Without axes of one place.
    pub(super) fn squeezed(&mut self, x: &str, axes: &[i64]) -> String {
        let axes = self.i64s(axes);
        self.add("Squeeze", &[x, &axes], vec![])
    }

    /// Axis `i` of the result is axis `order[i]` of `x`.
    pub(super) fn transposed(&mut self, x: &str, order: impl IntoIterator<Item = i64>) -> String {
        self.add("Transpose", &[x], vec![AttributeProto::ints("perm", order)])
    }

    /// Values one after the other along an axis.
    pub(super) fn joined<S: AsRef<str>>(&mut self, parts: &[S], axis: i64) -> String {
        self.add("Concat", parts, vec![AttributeProto::int("axis", axis)])
    }
}
