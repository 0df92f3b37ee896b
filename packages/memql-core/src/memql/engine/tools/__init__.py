"""What the engine offers models and hosts: builtins, tools, prompts and providers (the contracts of the SI layer)."""
