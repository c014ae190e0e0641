//! Reports as a page that stands alone: markup that is safe by construction, pictures, plots and tables in one style.
//!
//! Styles and pictures are in the page, and it needs nothing from elsewhere. Text from outside (an answer, a topic's name) becomes
//! markup in one place only ([`Html`]), and the page's own policy forbids scripts and requests, whatever stands in it.
//!
//! Why no script: a report is mailed, kept for years and opened where nobody watches; CSS and SVG show all that it has to.

mod html;
mod page;
mod picture;
mod plot;
mod table;

pub use html::{Element, Html, element};
pub use page::{Page, Tile};
pub use picture::{Film, Overlay};
pub use plot::{Mark, Plot, Series, Threshold};
pub use table::{bar, table};
