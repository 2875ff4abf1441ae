use super::args::DemoArgs;
use super::failure::Failure;
pub(crate) async fn run(_: DemoArgs) -> Result<(), Failure> {
    Err(Failure::Interrupted)
}
