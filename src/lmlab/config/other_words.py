"""Names of options in Lightning, Hugging Face and other trainers, with lmlab's names for them."""

from collections.abc import Collection

_TOKENS_OF_STEPS = "steps x batch.size x batch.context"
_TOKENS_OF_EPOCHS = "in training tokens: epochs x the tokens of the training split"
_WHOLE_BATCH = "sequences in an optimizer step, over all devices and accumulation"
_GOES_ON = "a run goes on from its last checkpoint when its command is given again"

_BY_OPTION: dict[tuple[str, str], str] = {
    ("budget.tokens", _TOKENS_OF_EPOCHS): "max_epochs num_train_epochs num_epochs n_epochs epochs epoch min_epochs",
    ("budget.tokens", _TOKENS_OF_STEPS): "max_steps min_steps num_steps num_train_steps train_steps total_steps steps "
    "max_iters num_iters iterations limit_train_batches max_train_steps max_train_samples",
    ("budget.tokens", "a few steps: one is batch.size x batch.context"): "fast_dev_run overfit_batches",
    ("batch.size", _WHOLE_BATCH): "batch_size per_device_train_batch_size per_gpu_train_batch_size train_batch_size "
    "micro_batch_size global_batch_size per_device_eval_batch_size eval_batch_size bsz batchsize",
    ("batch.context", "tokens in a sequence"): "block_size max_seq_length max_seq_len max_length seq_len seq_length "
    "sequence_length context_length context_size ctx_len n_ctx n_positions max_position_embeddings bptt window_size "
    "model_max_length",
    ("model.width", ""): "hidden_size hidden_dim hidden hidden_units n_embd n_embed d_model model_dim embed_dim "
    "embedding_dim embedding_size emb_size emb_dim dim nhid ninp",
    ("model.depth", ""): "num_layers num_layer n_layer n_layers num_hidden_layers layers nlayers n_blocks num_blocks",
    ("model.mixer.heads", "of models with attention"): "num_heads num_head n_head n_heads nhead nheads heads "
    "num_attention_heads",
    (
        "model.mixer.kv_heads",
        "with mixer=grouped_query_attention",
    ): "num_key_value_heads n_kv_heads n_kv_head num_kv_heads",
    ("model.channel.ratio", "the inner width over model.width"): "intermediate_size n_inner d_ff ffn_dim "
    "dim_feedforward d_inner mlp_ratio",
    (
        "model.dropout",
        "",
    ): "dropout dropout_p p_dropout resid_pdrop hidden_dropout_prob hidden_dropout attention_dropout "
    "attn_pdrop attention_probs_dropout_prob drop_rate",
    ("model.embedding_dropout", ""): "embd_pdrop embed_dropout embedding_dropout_prob",
    ("model.tie_embeddings", ""): "tie_word_embeddings tie_weights tied",
    ("model.parameters", "10M, 1.5B: the width is solved for it"): "num_parameters n_params params num_params",
    ("model.path", "with model=hf: a folder that save_pretrained wrote"): "model_name_or_path pretrained "
    "pretrained_model_name_or_path",
    ("model.architecture", "with model=hf: gpt2, llama, ..."): "model_type architecture",
    ("model", "lmlab train --help lists the options"): "model_name arch model_class network net",
    ("tokenizer.size", "of tokenizer=bpe or word"): "vocab_size vocabulary_size n_vocab",
    (
        "tokenizer",
        "bpe, unigram, byte, character, word; pretrained with tokenizer.path=",
    ): "tokenizer_name tokenizer_type tokenizer_name_or_path",
    ("optimizer.lr", ""): "learning_rate lr base_lr max_lr peak_lr init_lr lr_max",
    ("optimizer.weight_decay", ""): "weight_decay wd l2",
    ("optimizer.betas", "both of them: [0.9,0.95]"): "adam_beta1 adam_beta2 beta1 beta2",
    ("optimizer.eps", ""): "adam_epsilon epsilon adam_eps",
    ("optimizer", "adamw, sgd, muon, ..."): "optim optimizer_name optimizer_type opt",
    ("scheduler.warmup", "optimizer steps, or a share of the run below 1"): "warmup warmup_steps num_warmup_steps "
    "warmup_iters warmup_ratio warmup_tokens",
    ("scheduler.floor", "the share of the learning rate at the end"): "min_lr min_lr_rate final_lr eta_min",
    (
        "scheduler",
        "cosine, linear, inverse_sqrt, wsd, plateau, cooldown or constant",
    ): "lr_scheduler lr_scheduler_type lr_schedule schedule decay_lr learning_rate_scheduler",
    ("objective.label_smoothing", ""): "label_smoothing_factor label_smoothing",
    ("trainer.accumulate", "batch.size stays the same"): "gradient_accumulation_steps accumulate_grad_batches "
    "grad_accum grad_accum_steps accumulation_steps",
    ("trainer.gradient_clip", "the largest norm; null: no limit"): "max_grad_norm gradient_clip_val grad_clip clip "
    "clip_grad_norm gradient_clipping gradient_clip_algorithm max_norm",
    ("trainer.devices", "on each node"): "devices gpus num_gpus n_gpus n_gpu ngpus num_devices nproc_per_node "
    "num_processes world_size tpu_cores",
    ("trainer.nodes", ""): "num_nodes nnodes num_machines n_nodes",
    ("trainer.accelerator", "auto, cpu or cuda"): "accelerator device use_cpu no_cuda use_cuda use_gpu gpu cuda",
    (
        "trainer.precision",
        "32-true, bf16-mixed, 16-mixed or bf16-true",
    ): "precision fp16 bf16 tf32 amp dtype torch_dtype mixed_precision use_amp half_precision",
    ("trainer.strategy", "auto, ddp or fsdp"): "strategy distributed_backend ddp fsdp deepspeed ddp_backend "
    "fsdp_config",
    ("trainer.compile", "true or false"): "torch_compile compile use_compile compile_model",
    ("trainer.activation_checkpointing", "true or false"): "gradient_checkpointing use_checkpoint",
    ("validation.times", "validations in a run, equally far apart"): "val_check_interval check_val_every_n_epoch "
    "eval_steps eval_interval eval_every eval_freq eval_strategy evaluation_strategy val_interval",
    ("validation.tokens", "batches x batch.size x batch.context"): "limit_val_batches limit_test_batches eval_iters "
    "max_eval_samples max_val_batches num_sanity_val_steps max_eval_steps",
    ("callbacks.checkpoint.every", "optimizer steps"): "save_steps save_strategy save_interval save_every "
    "every_n_train_steps checkpoint_interval checkpoint_every enable_checkpointing save_freq",
    ("callbacks.checkpoint.keep", "so many of the newest"): "save_total_limit save_top_k",
    ("start.run", "a finished run, whose weights it begins with"): "init_from init_checkpoint",
    (
        "callbacks.early_stopping.patience",
        "with callbacks=early_stopping",
    ): "early_stopping_patience patience early_stop",
    ("log_every", "optimizer steps"): "log_every_n_steps logging_steps log_interval log_steps logging_strategy "
    "print_every log_freq",
    ("seed", ""): "seed_everything random_seed manual_seed data_seed rng_seed random_state",
    ("logger", "[wandb], [tensorboard], or [] for none"): "report_to log_with loggers use_wandb wandb tensorboard",
    ("logger.wandb.project", ""): "wandb_project project project_name",
    ("paths.outputs", ""): "output_dir default_root_dir save_dir out_dir outdir output log_dir logging_dir output_path",
    ("rerun", "computes a finished run again, beside it"): "overwrite_output_dir force overwrite",
    ("name", ""): "run_name experiment_name exp_name job_name",
    ("progress", "true or false"): "enable_progress_bar disable_tqdm progress_bar progress_bar_refresh_rate verbose",
    ("data", "lmlab train --help lists the options"): "dataset dataset_name datamodule dataset_config_name corpus",
    (
        "data.paths",
        "with data=text",
    ): "data_path data_dir dataset_path data_files root path file files text_file",
    ("data.train", "with data=text"): "train_file train_path train_data",
    ("data.validation", "with data=text"): "validation_file validation_path validation_data",
    ("data.field", "with data=text"): "text_column text_field text_key",
    ("data.clean.exact_duplicates", "true or false"): "dedup deduplicate deduplication remove_duplicates",
    ("data.clean.scrub", "email, ip, phone"): "pii remove_pii anonymize",
    ("length", "tokens to generate"): "max_new_tokens num_tokens n_tokens max_tokens generate_length min_length",
    ("samples", ""): "num_return_sequences num_samples n_samples",
    ("stop", "a text, or a list of texts"): "stop_strings stop_sequences stop_sequence stop_words stop_tokens until",
    ("end_of_document", "true or false"): "eos eos_token eos_token_id ignore_eos stop_at_eos",
    ("prompts", "a file that ends in .txt or .jsonl"): "prompt_file prompts_file input_file",
    ("greedy", "true or false"): "do_sample",
    ("beams", "2 or more for beam search"): "num_beams n_beams beam_size beam_width beam",
    ("best", "texts of each beam search"): "n_best nbest num_best",
    ("repetition_penalty", "1 for none"): "repeat_penalty",
}
"""Names of other trainers, by the option of lmlab and its unit."""

_WITHOUT: dict[str, str] = {
    _GOES_ON: "ckpt_path resume_from_checkpoint resume resume_from checkpoint_path load_checkpoint resume_path",
    "batches are read without worker processes": "num_workers dataloader_num_workers persistent_workers pin_memory "
    "dataloader_pin_memory prefetch_factor",
    "runs are deterministic as they are": "deterministic benchmark full_determinism cudnn_benchmark",
    "the last checkpoint and the best weights are kept": "load_best_model_at_end metric_for_best_model save_last",
    "lmlab train, evaluate and generate are commands of their own": "do_train do_eval do_predict do_test eval_only",
}
"""Options of other trainers that lmlab does not need, by the reason."""

_OPTIONS = {word: entry for entry, words in _BY_OPTION.items() for word in words.split()}
_REASONS = {word: reason for reason, words in _WITHOUT.items() for word in words.split()}

VALUES: dict[str, str] = {
    "gpu": "cuda",
    "16": "16-mixed",
    "fp16": "16-mixed",
    "float16": "16-mixed",
    "bf16": "bf16-mixed",
    "bfloat16": "bf16-mixed",
    "32": "32-true",
    "fp32": "32-true",
    "float32": "32-true",
    "char": "character",
    **dict.fromkeys(("sentencepiece", "spm", "transformers", "hf", "huggingface", "file"), "pretrained"),
    **dict.fromkeys(("cl100k_base", "o200k_base", "r50k_base"), "tiktoken"),
    "shakespeare": "tinyshakespeare",
    "tiny_shakespeare": "tinyshakespeare",
    "wikitext": "wikitext2",
    "penn": "ptb",
    "penn_treebank": "ptb",
    "huggingface": "hf",
    "mamba": "mamba2",
}
"""Values of options in other trainers, with lmlab's values."""


def in_our_words(option: str, available: Collection[str] | None = None) -> str:
    """Return lmlab's name for an option of another trainer, as text to be appended to a message; empty if unknown.

    Args:
        option: its dotted name; only the last part matters.
        available: the options that exist here; ``None``: any.
    """
    word = option.rpartition(".")[2].lower().replace("-", "_")
    ours, unit = _OPTIONS.get(word, ("", ""))
    if ours and ours != option and (available is None or ours in available or ours.partition(".")[0] in available):
        return f"; lmlab has {ours}{f' ({unit})' if unit else ''}"
    return f"; {_REASONS[word]}" if word in _REASONS else ""
