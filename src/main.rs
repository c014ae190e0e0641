//! Parses, dispatches and sets the exit code.

fn main() -> std::process::ExitCode {
    perihelion::cli::main(std::env::args_os())
}
