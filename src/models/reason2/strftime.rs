//! A moment as Python's `strftime` writes it, in the C locale and in UTC.

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Writes the moment `now_s` seconds after 1970 by `format`. A directive that is not known here stays as it is.
pub(super) fn strftime(format: &str, now_s: i64) -> String {
    let (days, second_of_day) = (now_s.div_euclid(86_400), now_s.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let day_of_year = days - days_of(year, 1, 1) + 1;
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let weekday = DAYS[days.rem_euclid(7) as usize];
    let month_name = MONTHS[month as usize - 1];
    let half = if hour < 12 { "AM" } else { "PM" };
    let hour_of_half = (hour + 11) % 12 + 1;

    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let mut directive = rest.next();
        let is_bare = directive == Some('-');
        if is_bare {
            directive = rest.next();
        }
        let digits = |value: i64, width: usize| match is_bare {
            true => value.to_string(),
            false => format!("{value:0width$}"),
        };
        match directive {
            Some('Y') => text.push_str(&year.to_string()),
            Some('y') => text.push_str(&digits(year.rem_euclid(100), 2)),
            Some('m') => text.push_str(&digits(month, 2)),
            Some('d') => text.push_str(&digits(day, 2)),
            Some('e') => text.push_str(&format!("{day:2}")),
            Some('j') => text.push_str(&digits(day_of_year, 3)),
            Some('H') => text.push_str(&digits(hour, 2)),
            Some('I') => text.push_str(&digits(hour_of_half, 2)),
            Some('M') => text.push_str(&digits(minute, 2)),
            Some('S') => text.push_str(&digits(second, 2)),
            Some('p') => text.push_str(half),
            Some('B') => text.push_str(month_name),
            Some('b' | 'h') => text.push_str(&month_name[..3]),
            Some('A') => text.push_str(weekday),
            Some('a') => text.push_str(&weekday[..3]),
            Some('F') => text.push_str(&format!("{year}-{month:02}-{day:02}")),
            Some('T') => text.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
            Some('R') => text.push_str(&format!("{hour:02}:{minute:02}")),
            Some('D') => text.push_str(&format!("{month:02}/{day:02}/{:02}", year.rem_euclid(100))),
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('%') => text.push('%'),
            other => {
                text.push('%');
                text.extend(is_bare.then_some('-'));
                text.extend(other);
            }
        }
    }
    text
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, in years of which March is the first month
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days from 1970-01-01; the inverse of [`days_of`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = (shifted + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
#[test]
fn moments_are_written_as_python_writes_them() {
    let check = |now_s: i64, format: &str, expected: &str| assert_eq!(strftime(format, now_s), expected);
    // datetime.fromtimestamp(s, UTC).strftime(format), Python 3.11.
    check(0, "%Y-%m-%d %H:%M:%S %A %j", "1970-01-01 00:00:00 Thursday 001");
    check(
        1_709_210_096,
        "%d %b %Y, %-d %B %y, %a %I:%M %p %%",
        "29 Feb 2024, 29 February 24, Thu 12:34 PM %",
    );
    check(1_735_689_599, "%j %e %-m %T", "366 31 12 23:59:59");
    check(951_782_400, "%F %D %-H", "2000-02-29 02/29/00 0");
    check(-86_400, "%A %d %B %Y", "Wednesday 31 December 1969");
    for days in (-200_000..200_000).step_by(97) {
        let (year, month, day) = date(days);
        assert_eq!(days_of(year, month, day), days);
    }
}
