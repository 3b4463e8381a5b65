"""The verbs, one module each: argv to options, to a plan, to the engine, to a rendered result."""
