// Generates text with an installed bamba: generate_example MODEL_DIR "prompt"
#include <bamba/bamba.h>

#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: generate_example MODEL_DIR PROMPT\n";
    return 2;
  }
  const auto model = bamba::BambaForCausalLM::from_pretrained(argv[1]);
  const auto tokenizer = bamba::Tokenizer::from_pretrained(argv[1]);
  auto config = bamba::GenerationConfig::from_pretrained(argv[1], model.config());
  config.max_new_tokens = 60;

  const std::vector<std::vector<int64_t>> prompts = {tokenizer.encode(argv[2])};
  bamba::GenerateOptions options;
  options.tokenizer = &tokenizer;
  options.stream = [](const bamba::StreamEvent& event) {
    std::cout << event.text << std::flush;
    return true;  // false would stop
  };
  bamba::generate(model, prompts, config, options);
  std::cout << '\n';
} catch (const bamba::Error& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
