# What tests the program from outside in Python: the chat page in a browser, OpenAI's client, load. A test whose needs
# are not installed says so and is skipped.
find_package(Python3 3.9 COMPONENTS Interpreter)
if(NOT Python3_Interpreter_FOUND)
  message(STATUS "No Python 3.9: tests of the chat page and of the running server are left out")
  return()
endif()

# bamba_script_test(NAME LABEL SECONDS SCRIPT [ARGUMENTS...]). SECONDS is the limit; the higher, the earlier ctest begins
# with it: these take longest, and mostly wait, so that other tests fill the time.
function(bamba_script_test name label seconds script)
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/${script} ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS "${label}" TIMEOUT ${seconds} COST ${seconds} SKIP_RETURN_CODE 77
    ENVIRONMENT "BAMBA_PROGRAM=$<TARGET_FILE:bamba_cli>;BAMBA_CLIENT_VENV=${PROJECT_SOURCE_DIR}/build-client;PYTHONDONTWRITEBYTECODE=1")
endfunction()

bamba_script_test(web.page web 600 tests/web/test_page.py)
bamba_script_test(web.import web 300 tests/web/test_import.py)
if(BAMBA_BUILD_SERVER)
  bamba_script_test(web.server web 300 tests/web/test_real.py)
  bamba_script_test(client.openai client 600 tests/client/test_openai.py)
  bamba_script_test(deploy.proxies slow 600 tests/deploy/test_proxies.py)
  bamba_script_test(load.streams slow 900 tools/load_test.py --streams 16 --seconds 20)
  bamba_script_test(load.conversations slow 900 tools/conversation_test.py --turns 8)
  # They measure time or fill the machine.
  set_tests_properties(deploy.proxies load.streams load.conversations PROPERTIES RUN_SERIAL ON)
endif()
