# What tests the program from outside in Python: the chat page in a browser, OpenAI's client, load. A test whose needs
# are not installed says so and is skipped.
find_package(Python3 3.9 COMPONENTS Interpreter)
if(NOT Python3_Interpreter_FOUND)
  message(STATUS "No Python 3.9: tests of the chat page and of the running server are left out")
  return()
endif()

# bamba_script_test(NAME LABEL SECONDS SCRIPT [ARGUMENTS...])
function(bamba_script_test name label seconds script)
  add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/${script} ${ARGN})
  set_tests_properties(${name} PROPERTIES LABELS "${label}" TIMEOUT ${seconds} SKIP_RETURN_CODE 77
    ENVIRONMENT "BAMBA_PROGRAM=$<TARGET_FILE:bamba_cli>;BAMBA_CLIENT_VENV=${PROJECT_BINARY_DIR}/client-venv;PYTHONDONTWRITEBYTECODE=1")
endfunction()

bamba_script_test(web.page web 600 tests/web/test_page.py)
