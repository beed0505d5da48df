"""`python -m controllable_inference.cli`"""

from controllable_inference.cli import main

if __name__ == "__main__":
    main()
