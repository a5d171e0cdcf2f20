"""Runs the tests and closes with one plain line of counts."""

import sys
import unittest


def main():
    loader = unittest.TestLoader()
    names = sys.argv[1:]
    suite = loader.loadTestsFromNames(names) if names else loader.discover(".", "test_*.py")
    result = unittest.TextTestRunner(verbosity=2, durations=5) if sys.version_info >= (3, 12) else unittest.TextTestRunner(verbosity=2)
    result = result.run(suite)
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(0 if result.wasSuccessful() else 1)


if __name__ == "__main__":
    main()
